"""The methods, one file each; `registry` has them by name, `explain` asks them."""

from iassa.methods.explain import explain
from iassa.methods.iassa import Iassa
from iassa.methods.iassa_paper import IassaPaper
from iassa.methods.kernel_shap import KernelShap
from iassa.methods.lime import Lime
from iassa.methods.registry import METHODS, open_method, read_fields
from iassa.methods.rise import Rise
from iassa.methods.shap_partition import ShapPartition
from iassa.methods.sliding_window import SlidingWindow

__all__ = [
    "METHODS",
    "Iassa",
    "IassaPaper",
    "KernelShap",
    "Lime",
    "Rise",
    "ShapPartition",
    "SlidingWindow",
    "explain",
    "open_method",
    "read_fields",
]
