"""The options that `iassa benchmark` alone has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from iassa.cli import completing
from iassa.cli.dataset_options import KINDS

Kind = Annotated[
    str,
    Argument(
        metavar="KIND",
        autocompletion=completing.among(*KINDS),
        help="What the images come with. coco: annotations in MS-COCO's format. masks: a mask PNG "
        "each. images: nothing (insertion and deletion only). pairs: a table of pairs that are "
        "alike. synthetic: drawn scenes, and black boxes whose right maps are known. mosaics: four "
        "of the images in one picture, each of another class.",
    ),
]
Images = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Folder of the images; for synthetic: photographs to lay the scenes on.",
    ),
]
Scenes = Annotated[
    int | None,
    Option(metavar="N", help="For synthetic: how many; default: 3 drawn ones, or all photographs."),
]
Number = Annotated[
    int | None,
    Option(
        "--mosaics",
        metavar="N",
        help="For mosaics: how many; default: as many as the images give.",
    ),
]
RunFolder = Annotated[Path, Option("--run", metavar="DIR", help="Folder of the run.")]
Annotations = Annotated[
    Path | None, Option(metavar="FILE", help="For coco: file in COCO's instances format.")
]
Masks = Annotated[
    Path | None,
    Option(metavar="DIR", help="For masks: folder of PNGs, not 0 where the object is."),
]
Pairs = Annotated[
    Path | None,
    Option(metavar="FILE", help="For pairs: CSV file, image,query and a row for each pair."),
]
Boxes = Annotated[
    bool,
    Option("--boxes", help="For coco: the box of an object that has no outline is its region."),
]
Orientation = Annotated[
    str | None,
    Option(
        metavar="stored|upright",
        autocompletion=completing.among("stored", "upright"),
        help="Whether EXIF turns the images (upright) or not; default: stored with coco and masks.",
    ),
]
Methods = Annotated[
    list[str] | None,
    Option(
        metavar="NAME,...",
        autocompletion=completing.several(*completing.METHODS),
        help="With their defaults; default: iassa,rise; synthetic: all.",
    ),
]
Contestant = Annotated[
    list[str] | None, Option(metavar="LABEL=METHOD", help="One with settings; see above.")
]
Budgets = Annotated[
    str, Option(metavar="N,...", help="Budgets of model calls at which maps are measured.")
]
Limit = Annotated[
    int | None, Option(metavar="N", help="Most targets to explain, the highest scores first.")
]
MinScore = Annotated[
    float | None,
    Option(
        metavar="SCORE",
        help="Least score of a target in the whole image; for mosaics: of the class of an image "
        "that is alone, default: 0.5.",
    ),
]
Half = Annotated[
    str,
    Option(
        metavar="even|odd|both",
        autocompletion=completing.among("even", "odd", "both"),
        help="Explain every other image only.",
    ),
]
Classes = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Outputs that stand for a category: same (classes are categories), imagenet (the "
        "shipped table), a JSON file, or auto (by class names); default: auto.",
    ),
]
OneTarget = Annotated[
    str | None,
    Option(
        metavar="TARGET",
        help="A class, group, contrast or top-1, for all images; default: their category.",
    ),
]
AsJson = Annotated[
    bool, Option("--json", help="Print what became of the run as JSON, not its folder.")
]
Seeds = Annotated[
    int, Option(metavar="N", help="Number of seeds per image, to see how stable maps are.")
]
ProtocolFields = Annotated[
    list[str] | None,
    Option(
        "--protocol",
        metavar="FIELD=VALUE",
        help="How maps are measured, repeatable: gain_fills, gain_steps, size, pixels_per_step, "
        "fill, blur_size, blur_sigma, normalise, threshold, tolerance, other_class. See "
        "docs/benchmark.md.",
    ),
]
