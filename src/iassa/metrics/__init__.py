"""How good a map is: by the scores of the black box, by an annotation, or by the map alone.

In: one map, or several maps of one image, and an image, a black box or an annotation.
Out: values for one image, with the curve if there is one. The benchmark takes the means.

| function | what it measures | range | better | source |
|---|---|---|---|---|
| `deletion(...).area` | the score goes with its pixels | score | lower | Petsiuk et al., 2018 |
| `insertion(...).area` | the score comes with them | score | higher | Petsiuk et al., 2018 |
| `relevance_gain(...).gain` | both, with one fill (SRG) | score | higher | Bluecher et al., 2024 |
| `linear_imputation` | a fill for them (ROAD) | - | - | Rong et al., 2022 |
| `mu_fidelity(...).correlation` | its sums tell drops | [-1, 1] | higher | Bhatt et al., 2020 |
| `overlap_at` | IoU, precision, recall, F1 at T | [0, 1] | higher | Vasu and Long, 2020 |
| `best_f1` | F1 and IoU at the best threshold | [0, 1] | higher | - |
| `pointing_game` | its maximum is on the object | hit or miss | hit | Zhang et al., 2016 |
| `average_precision` | it ranks the object first | (0, 1] | higher | - |
| `relevance_mass` | its mass is on the object | [0, 1] | higher | Wang et al., 2020 |
| `relevance_rank_accuracy` | its top pixels are | [0, 1] | higher | Arras et al., 2022 |
| `right_order` | its order is that of the right map | [-1, 1] | higher | Somers, 1962 |
| `right_signs` | its signs are those of the right map | [0, 1] | higher | - |
| `pixel_level` | any of these, by activated pixel | metric's | metric's | Vasu and Long, 2020 |
| `gini_index` | it speaks of few pixels | [0, 1) | higher | Chalasani et al., 2020 |
| `border_share` | its mass is at the image's border | [0, 1] | - | - |
| `periodic_share` | it shows a lattice of windows | [0, 1] | lower | - |
| `stability` | other seeds make it again | [-1, 1], [0, 1] | higher | see there |
| `input_stability` | nearly equal images make it | as above | higher | Yeh et al., 2019 |
| `error_coverage` | another seed is within its errors | [0, 1] | 0.95 | - |
| `model_randomisation` | it goes with what was learnt | [-1, 1] | near 0 | Adebayo et al., 2018 |
| `onnx_randomisation` | the same, of an ONNX file | [-1, 1] | near 0 | Adebayo et al., 2018 |
| `random_logit` | it goes with the class that it is of | [-1, 1] | lower | Sixt et al., 2020 |
| `rank_correlation` | it has the order of another | [-1, 1] | - | Spearman, 1904 |
| `top_overlap` | it has the top pixels of another | [0, 1] | - | Ghorbani et al., 2019 |
| `structural_similarity` | it looks like another | [-1, 1] | - | Wang et al., 2004 |

Each is a pure function.
"""

from iassa.metrics.average_precision import average_precision
from iassa.metrics.border_share import border_share
from iassa.metrics.causal import Curve, Normalisation, Remove, causal_curve, deletion, insertion
from iassa.metrics.error_coverage import error_coverage
from iassa.metrics.fidelity import Fidelity, mu_fidelity
from iassa.metrics.imputation import linear_imputation
from iassa.metrics.input_stability import InputStability, input_stability
from iassa.metrics.onnx_randomisation import onnx_layers, onnx_randomisation, randomised_onnx
from iassa.metrics.overlap import (
    BestF1,
    Overlap,
    best_f1,
    count_activated,
    measure_overlap,
    overlap_at,
    pixel_level,
    threshold_region,
)
from iassa.metrics.periodic_share import periodic_share
from iassa.metrics.pointing_game import Pointing, pointing_game
from iassa.metrics.random_logit import RandomLogit, random_logit
from iassa.metrics.randomisation import Randomisation, Stage, model_randomisation, randomised
from iassa.metrics.relevance_gain import RelevanceGain, relevance_gain
from iassa.metrics.relevance_mass import relevance_mass
from iassa.metrics.relevance_rank import relevance_rank_accuracy
from iassa.metrics.right_order import right_order
from iassa.metrics.right_signs import right_signs
from iassa.metrics.similarity import rank_correlation, structural_similarity, top_overlap
from iassa.metrics.sparsity import gini_index
from iassa.metrics.stability import Stability, stability

__all__ = [
    "BestF1",
    "Curve",
    "Fidelity",
    "InputStability",
    "Normalisation",
    "Overlap",
    "Pointing",
    "RandomLogit",
    "Randomisation",
    "RelevanceGain",
    "Remove",
    "Stability",
    "Stage",
    "average_precision",
    "best_f1",
    "border_share",
    "causal_curve",
    "count_activated",
    "deletion",
    "error_coverage",
    "gini_index",
    "input_stability",
    "insertion",
    "linear_imputation",
    "measure_overlap",
    "model_randomisation",
    "mu_fidelity",
    "onnx_layers",
    "onnx_randomisation",
    "overlap_at",
    "periodic_share",
    "pixel_level",
    "pointing_game",
    "random_logit",
    "randomised",
    "randomised_onnx",
    "rank_correlation",
    "relevance_gain",
    "relevance_mass",
    "relevance_rank_accuracy",
    "right_order",
    "right_signs",
    "stability",
    "structural_similarity",
    "threshold_region",
    "top_overlap",
]
