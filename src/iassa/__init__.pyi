from . import adapting, auditing, benchmark, masks, methods, metrics, models, training
from .errors import (
    BlackBoxError,
    CancelledError,
    IassaError,
    ImageWarning,
    InputError,
    TrainingModeWarning,
    WeakEvidenceWarning,
)
from .explanations.explanation import Explanation
from .explanations.failure import RunFailedError
from .image import example_image, load_image
from .methods.engine.budget import Progress
from .methods.explain import explain, extend, retarget
from .methods.verify import verify
from .models.opening import open_model
from .models.targets import Target

__version__: str

__all__ = [
    "BlackBoxError",
    "CancelledError",
    "Explanation",
    "IassaError",
    "ImageWarning",
    "InputError",
    "Progress",
    "RunFailedError",
    "Target",
    "TrainingModeWarning",
    "WeakEvidenceWarning",
    "adapting",
    "auditing",
    "benchmark",
    "example_image",
    "explain",
    "extend",
    "load_image",
    "masks",
    "methods",
    "metrics",
    "models",
    "open_model",
    "retarget",
    "training",
    "verify",
]
