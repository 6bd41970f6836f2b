"""Images to compare methods on.

In: a folder of images, with an annotation file, masks or nothing beside them; or how many scenes.
Out: samples and what is annotated in them, and the outputs of a model that a category stands for.
"""

from iassa.benchmark.datasets.categories import (
    CategoryTargets,
    category_targets,
    check_classes,
    imagenet_groups,
)
from iassa.benchmark.datasets.coco import Coco
from iassa.benchmark.datasets.image_folder import IMAGE_SUFFIXES, ImageFolder
from iassa.benchmark.datasets.image_pairs import ImagePairs
from iassa.benchmark.datasets.mask_folder import MaskFolder
from iassa.benchmark.datasets.mosaics import Mosaics
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.benchmark.datasets.synthetic_scenes import SyntheticScenes

__all__ = [
    "IMAGE_SUFFIXES",
    "Annotated",
    "CategoryTargets",
    "Coco",
    "Dataset",
    "ImageFolder",
    "ImagePairs",
    "MaskFolder",
    "Mosaics",
    "Sample",
    "SyntheticScenes",
    "category_targets",
    "check_classes",
    "imagenet_groups",
]
