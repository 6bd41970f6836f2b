"""iassa: what an image model looks at, found by asking the model alone."""

from importlib.metadata import version

from iassa.black_box import Adapter, FunctionAdapter, TorchAdapter
from iassa.black_boxes import open_black_box
from iassa.errors import (
    BlackBoxError,
    CancelledError,
    IassaError,
    InputError,
    WeakEvidenceWarning,
)
from iassa.explain import explain
from iassa.explanation import Explanation
from iassa.features import ColourPosition, TorchLayers
from iassa.image import example_image, load_image
from iassa.loop import Method, Progress
from iassa.methods import METHODS, Iassa, IassaPaper, Rise
from iassa.targets import Target

__version__ = version("iassa")

__all__ = [
    "METHODS",
    "Adapter",
    "BlackBoxError",
    "CancelledError",
    "ColourPosition",
    "Explanation",
    "FunctionAdapter",
    "Iassa",
    "IassaError",
    "IassaPaper",
    "InputError",
    "Method",
    "Progress",
    "Rise",
    "Target",
    "TorchAdapter",
    "TorchLayers",
    "WeakEvidenceWarning",
    "example_image",
    "explain",
    "load_image",
    "open_black_box",
]
