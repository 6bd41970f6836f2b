"""The methods, one file each: which masks, and which estimator.

In: an image, a black box, a target, and how many calls a map may cost.
Out: an explanation after every round. `registry` finds methods by name, `explain` runs them.
"""

from iassa.methods.engine.base import Explainer
from iassa.methods.engine.loop import Method
from iassa.methods.explain import explain, extend, retarget
from iassa.methods.greedy import Greedy
from iassa.methods.hsic import Hsic
from iassa.methods.iassa import Iassa
from iassa.methods.iassa_paper import IassaPaper
from iassa.methods.kernel_shap import KernelShap
from iassa.methods.lime import Lime
from iassa.methods.occlusion import Occlusion
from iassa.methods.registry import METHODS, open_method, read_fields
from iassa.methods.rise import Rise
from iassa.methods.shap_bpt import ShapBpt
from iassa.methods.shap_partition import ShapPartition
from iassa.methods.sobol import Sobol
from iassa.methods.verify import verify

__all__ = [
    "METHODS",
    "Explainer",
    "Greedy",
    "Hsic",
    "Iassa",
    "IassaPaper",
    "KernelShap",
    "Lime",
    "Method",
    "Occlusion",
    "Rise",
    "ShapBpt",
    "ShapPartition",
    "Sobol",
    "explain",
    "extend",
    "open_method",
    "read_fields",
    "retarget",
    "verify",
]
