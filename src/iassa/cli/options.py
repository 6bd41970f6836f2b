"""The options that several commands have, and the model that they describe.

Eight options describe a model. `--model-option` takes any other field. All of them become part of
the model's name, the text after its '?' or, of a URL, its '#'. So they go wherever the name goes,
into workers too; the name holds no secret.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer
from typer import Argument, Option

from iassa.cli import completing
from iassa.errors import InputError, list_some

_about_model = functools.partial(Option, rich_help_panel="The model")

Model = Annotated[
    str | None,
    _about_model(
        metavar="MODEL",
        autocompletion=completing.models,
        help="efficientnet-lite0 (default), FILE.onnx, hf:NAME, hf:FOLDER, a URL, or "
        "package.module:attribute (its code is run).",
    ),
]
Device = Annotated[
    str | None,
    _about_model(metavar="NAME", help="cpu, cuda, cuda:1; default: a GPU, if any."),
]
Range = Annotated[
    str | None,
    _about_model("--range", metavar="LOW-HIGH", help="Its black and white: 0-1, 0-255, -1..1."),
]
Mean = Annotated[str | None, _about_model(metavar="A,B,C", help="Subtracted from each channel.")]
Std = Annotated[str | None, _about_model(metavar="A,B,C", help="Then divides each channel.")]
Softmax = Annotated[
    bool | None, _about_model("--softmax/--no-softmax", help="Make its outputs probabilities.")
]
Sigmoid = Annotated[
    bool | None, _about_model("--sigmoid", help="Make its outputs probabilities, each of its own.")
]
InputSize = Annotated[
    str | None, _about_model(metavar="HEIGHT,WIDTH", help="Of its input; any: as images are.")
]
ClassNames = Annotated[
    str | None, _about_model(metavar="FILE", help="Names of its classes, one a line, or JSON.")
]
AuthEnv = Annotated[
    str | None, _about_model(metavar="NAME", help="Variable with the authorisation for a URL.")
]
ModelOption = Annotated[
    list[str] | None,
    _about_model(
        metavar="FIELD=VALUE",
        help="Any other field, repeatable: layout, bgr, output_name, detector, threshold, resize; "
        "for a URL rate, cache, retries and more. See docs/models.md and docs/endpoint.md.",
    ),
]

Saved = Annotated[Path, Argument(metavar="DIR", help="Folder of a saved explanation.")]
Seconds = Annotated[float | None, Option(metavar="SECONDS", help="Stop after this time.")]
Tolerance = Annotated[
    float | None,
    Option(metavar="SHARE", help="Stop at this standard error, as a share of the map's peak: 0.1."),
]
BatchSize = Annotated[
    int | None,
    Option(metavar="N", help="Most images in a batch; default: 16 on a CPU, 128 on a GPU."),
]
Seed = Annotated[int, Option(metavar="N", help="The same seed gives the same result.")]
SimilarTo = Annotated[
    list[str] | None,
    Option(
        metavar="IMAGE",
        help="Explain the similarity to this image, for one call more; repeatable. The model "
        "must return feature vectors.",
    ),
]
Measure = Annotated[
    str | None,
    Option(
        metavar="cosine|euclidean",
        help="How to compare; default: cosine.",
        autocompletion=completing.among("cosine", "euclidean"),
    ),
]
AsJson = Annotated[bool, Option("--json", help="Print explanation.json, one line per image.")]
White = Annotated[
    float | None,
    Option(
        metavar="VALUE",
        help="What is white in grey of more than 8 bits: 4095 for 12 bits; default: 65535.",
    ),
]
MaxPixels = Annotated[
    int | None,
    Option(
        metavar="N", help="Most pixels of an image, 16 bytes of memory each; default: 50 million."
    ),
]
Quiet = Annotated[bool, Option("--quiet", help="Print errors only.")]
Refine = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Spend N more calls on smaller verified regions, superpixel by superpixel.",
    ),
]
Workers = Annotated[int, Option(metavar="N", help="Processes on this machine, one core each.")]
Ray = Annotated[str | None, Option(metavar="ADDRESS", help="Use a Ray cluster: auto, ray://host.")]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Write over the result of another image, model or target.")
]
Drawn = Literal["none", "sheet", "all", "named"]
Pictures = Annotated[
    str,
    Option(
        metavar="none|sheet|all|named",
        autocompletion=completing.among(*get_args(Drawn)),
        help="What to draw: nothing, all targets on one scale, or that and a picture of each, "
        "overlay-K.png; with named, the class is in its name, overlay-K-CLASS.png.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What is written and printed of a result: the values of the options of these names."""

    overwrite: bool
    pictures: Drawn
    as_json: bool
    quiet: bool


def read_saving(context: typer.Context) -> Saving:
    """What the options say of it.

    Raises:
        InputError: pictures of another name.
    """
    given = context.params
    pictures = given["pictures"]
    if pictures not in get_args(Drawn):
        raise InputError(f"expected --pictures none, sheet, all or named, got {pictures!r}.")
    return Saving(
        overwrite=given.get("overwrite", True),  # of a command that writes where it read
        pictures=cast("Drawn", pictures),
        as_json=given["as_json"],
        quiet=given["quiet"],
    )


def described_model(context: typer.Context) -> str | None:
    """The name of the model with what the options say of it; None if no model is named.

    Args:
        context: of a command with all options of the panel 'The model'.

    Raises:
        InputError: options without a model, or see `iassa.models.opening.add_conventions`.
    """
    given = context.params
    flags = {True: "yes", False: "no"}
    fields = ("mean", "std", "softmax", "sigmoid", "input_size", "class_names", "auth_env")
    values = {"range": given["range_"]} | {name: given[name] for name in fields}
    typed = [f"{name}={flags.get(v, v)}" for name, v in values.items() if v is not None]
    typed += given["model_option"] or []
    model: str | None = given["model"]
    if not typed:
        return model
    if model is None:
        raise InputError(f"expected --model with {list_some(typed)}, got none. Name the model.")
    from iassa.models.opening import add_conventions

    return add_conventions(model, typed)
