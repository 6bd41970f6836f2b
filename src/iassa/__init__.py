"""iassa: what an image model looks at, found by asking the model alone.

In: an image, a black box, a target, and how many calls a map may cost.
Out: a map for each target, with its standard error. The loop is `iassa.methods.engine.loop`.

Names are imported when they are first used, so that `import iassa` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iassa.errors import (
        BlackBoxError,
        CancelledError,
        IassaError,
        InputError,
        TrainingModeWarning,
        WeakEvidenceWarning,
    )
    from iassa.explanations.explanation import Explanation, RunFailedError
    from iassa.image import example_image, load_image
    from iassa.methods import (
        Iassa,
        IassaPaper,
        KernelShap,
        Lime,
        Rise,
        ShapPartition,
        SlidingWindow,
    )
    from iassa.methods.engine.base import Explainer
    from iassa.methods.engine.budget import Progress
    from iassa.methods.engine.loop import Method
    from iassa.methods.explain import explain, extend, retarget
    from iassa.methods.registry import METHODS
    from iassa.models.black_box import Adapter, FunctionAdapter
    from iassa.models.detections import Box, Detections, TargetBoxes
    from iassa.models.detector import AimedDetector, Detector, FunctionDetector, TorchDetector
    from iassa.models.features import ColourPosition, TorchLayers
    from iassa.models.http.endpoint import EndpointAdapter
    from iassa.models.onnx.classifier import OnnxAdapter
    from iassa.models.onnx.detector import OnnxDetector
    from iassa.models.onnx.features import OnnxLayers, onnx_feature_names
    from iassa.models.opening import open_black_box
    from iassa.models.similarity import Similarity
    from iassa.models.targets import Target
    from iassa.models.torch_module import TorchAdapter

__version__ = "0.1.0"

_HOMES = {
    "METHODS": "methods.registry",
    "Adapter": "models.black_box",
    "AimedDetector": "models.detector",
    "BlackBoxError": "errors",
    "Box": "models.detections",
    "CancelledError": "errors",
    "ColourPosition": "models.features",
    "Detections": "models.detections",
    "Detector": "models.detector",
    "EndpointAdapter": "models.http.endpoint",
    "Explainer": "methods.engine.base",
    "Explanation": "explanations.explanation",
    "FunctionAdapter": "models.black_box",
    "FunctionDetector": "models.detector",
    "Iassa": "methods",
    "IassaError": "errors",
    "IassaPaper": "methods",
    "InputError": "errors",
    "KernelShap": "methods",
    "Lime": "methods",
    "Method": "methods.engine.loop",
    "OnnxAdapter": "models.onnx.classifier",
    "OnnxDetector": "models.onnx.detector",
    "OnnxLayers": "models.onnx.features",
    "Progress": "methods.engine.budget",
    "Rise": "methods",
    "RunFailedError": "explanations.explanation",
    "ShapPartition": "methods",
    "Similarity": "models.similarity",
    "SlidingWindow": "methods",
    "Target": "models.targets",
    "TargetBoxes": "models.detections",
    "TorchAdapter": "models.torch_module",
    "TorchDetector": "models.detector",
    "TorchLayers": "models.features",
    "TrainingModeWarning": "errors",
    "WeakEvidenceWarning": "errors",
    "example_image": "image",
    "explain": "methods.explain",
    "extend": "methods.explain",
    "load_image": "image",
    "onnx_feature_names": "models.onnx.features",
    "open_black_box": "models.opening",
    "retarget": "methods.explain",
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
    "RunFailedError",
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
    "extend",
    "load_image",
    "onnx_feature_names",
    "open_black_box",
    "retarget",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'iassa' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"iassa.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
