"""Images with annotations or without, and which outputs of a model their categories are."""

from iassa.datasets.categories import CategoryTargets, category_targets, imagenet_groups
from iassa.datasets.coco import Coco
from iassa.datasets.image_folder import IMAGE_SUFFIXES, ImageFolder
from iassa.datasets.mask_folder import MaskFolder
from iassa.datasets.sample import Annotated, Dataset, Sample

__all__ = [
    "IMAGE_SUFFIXES",
    "Annotated",
    "CategoryTargets",
    "Coco",
    "Dataset",
    "ImageFolder",
    "MaskFolder",
    "Sample",
    "category_targets",
    "imagenet_groups",
]
