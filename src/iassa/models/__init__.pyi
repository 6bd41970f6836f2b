from .black_box import BlackBox, FunctionModel
from .detections import Box, Detections, TargetBoxes
from .detector import AimedDetector, Detector, FunctionDetector, TorchDetector
from .features import ColourPosition, TorchLayers
from .http.endpoint import HttpModel
from .hugging_face.classifier import HuggingFaceModel
from .onnx.classifier import OnnxModel
from .onnx.detector import OnnxDetector
from .onnx.features import OnnxLayers, onnx_feature_names
from .opening import open_model
from .similarity import Similarity
from .targets import Target
from .torch_module import TorchModel

__all__ = [
    "AimedDetector",
    "BlackBox",
    "Box",
    "ColourPosition",
    "Detections",
    "Detector",
    "FunctionDetector",
    "FunctionModel",
    "HttpModel",
    "HuggingFaceModel",
    "OnnxDetector",
    "OnnxLayers",
    "OnnxModel",
    "Similarity",
    "Target",
    "TargetBoxes",
    "TorchDetector",
    "TorchLayers",
    "TorchModel",
    "onnx_feature_names",
    "open_model",
]
