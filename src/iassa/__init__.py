"""iassa: what an image model looks at, found by asking the model alone.

Names are imported when they are first used, so that `import iassa` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iassa.black_box import Adapter, FunctionAdapter
    from iassa.black_boxes import open_black_box
    from iassa.black_boxes.endpoint import EndpointAdapter
    from iassa.black_boxes.onnx_detector import OnnxDetector
    from iassa.black_boxes.onnx_file import OnnxAdapter
    from iassa.budget import Progress
    from iassa.detections import Box, Detections, TargetBoxes
    from iassa.detector import AimedDetector, Detector, FunctionDetector, TorchDetector
    from iassa.errors import (
        BlackBoxError,
        CancelledError,
        IassaError,
        InputError,
        TrainingModeWarning,
        WeakEvidenceWarning,
    )
    from iassa.explainer import Explainer
    from iassa.explanation import Explanation
    from iassa.features import ColourPosition, TorchLayers
    from iassa.image import example_image, load_image
    from iassa.loop import Method
    from iassa.methods import (
        METHODS,
        Iassa,
        IassaPaper,
        KernelShap,
        Lime,
        Rise,
        ShapPartition,
        SlidingWindow,
        explain,
    )
    from iassa.onnx_features import OnnxLayers, onnx_feature_names
    from iassa.similarity import Similarity
    from iassa.targets import Target
    from iassa.torch_module import TorchAdapter

__version__ = "0.1.0"

_HOMES = {
    "METHODS": "methods",
    "Adapter": "black_box",
    "AimedDetector": "detector",
    "BlackBoxError": "errors",
    "Box": "detections",
    "CancelledError": "errors",
    "ColourPosition": "features",
    "Detections": "detections",
    "Detector": "detector",
    "EndpointAdapter": "black_boxes.endpoint",
    "Explainer": "explainer",
    "Explanation": "explanation",
    "FunctionAdapter": "black_box",
    "FunctionDetector": "detector",
    "Iassa": "methods",
    "IassaError": "errors",
    "IassaPaper": "methods",
    "InputError": "errors",
    "KernelShap": "methods",
    "Lime": "methods",
    "Method": "loop",
    "OnnxAdapter": "black_boxes.onnx_file",
    "OnnxDetector": "black_boxes.onnx_detector",
    "OnnxLayers": "onnx_features",
    "Progress": "budget",
    "Rise": "methods",
    "ShapPartition": "methods",
    "Similarity": "similarity",
    "SlidingWindow": "methods",
    "Target": "targets",
    "TargetBoxes": "detections",
    "TorchAdapter": "torch_module",
    "TorchDetector": "detector",
    "TorchLayers": "features",
    "TrainingModeWarning": "errors",
    "WeakEvidenceWarning": "errors",
    "example_image": "image",
    "explain": "methods",
    "load_image": "image",
    "onnx_feature_names": "onnx_features",
    "open_black_box": "black_boxes",
}

__all__ = [
    "METHODS",
    "Adapter",
    "AimedDetector",
    "BlackBoxError",
    "Box",
    "CancelledError",
    "ColourPosition",
    "Detections",
    "Detector",
    "EndpointAdapter",
    "Explainer",
    "Explanation",
    "FunctionAdapter",
    "FunctionDetector",
    "Iassa",
    "IassaError",
    "IassaPaper",
    "InputError",
    "KernelShap",
    "Lime",
    "Method",
    "OnnxAdapter",
    "OnnxDetector",
    "OnnxLayers",
    "Progress",
    "Rise",
    "ShapPartition",
    "Similarity",
    "SlidingWindow",
    "Target",
    "TargetBoxes",
    "TorchAdapter",
    "TorchDetector",
    "TorchLayers",
    "TrainingModeWarning",
    "WeakEvidenceWarning",
    "example_image",
    "explain",
    "load_image",
    "onnx_feature_names",
    "open_black_box",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'iassa' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"iassa.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
