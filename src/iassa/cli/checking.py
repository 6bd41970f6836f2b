"""`iassa verify`, and what `iassa explain --verify` does after its run."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

import iassa
from iassa.cli import completing, options
from iassa.cli.black_box import described_as_before, opened_model, photo_reader
from iassa.cli.making import make_all
from iassa.errors import BlackBoxError, CancelledError, InputError, require

if TYPE_CHECKING:
    from iassa.masks.baselines import BaselineLike, Fill
    from iassa.models.black_box import BlackBox

Fills = Annotated[
    str | None,
    Option(
        "--baseline",
        metavar="FILL[,FILL]",
        autocompletion=completing.several(*completing.FILLS),
        help="What hidden pixels show, as of `iassa explain`; default: the map's own "
        "and blur, or grey.",
    ),
]
Targets = Annotated[
    list[str] | None,
    Option(
        metavar="TARGET",
        help="The targets that were explained, named again, as package.module:function must be; "
        "repeatable.",
    ),
]


def verify(
    context: typer.Context,
    directory: options.Saved,
    baseline: Fills = None,
    refine: options.Refine = None,
    target: Targets = None,
    similar_to: options.SimilarTo = None,
    measure: options.Measure = None,
    max_pixels: options.MaxPixels = None,
    batch_size: options.BatchSize = None,
    pictures: options.Pictures = "all",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    model: options.Model = None,
    device: options.Device = None,
    range_: options.Range = None,
    mean: options.Mean = None,
    std: options.Std = None,
    softmax: options.Softmax = None,
    sigmoid: options.Sigmoid = None,
    input_size: options.InputSize = None,
    class_names: options.ClassNames = None,
    auth_env: options.AuthEnv = None,
    model_option: options.ModelOption = None,
) -> None:
    """Ask the model which smallest region keeps the score, and which loses it.

    The answer goes into DIR. The regions, in the map's own order, keep or lose
    90 % of what the image adds to the score of the fill alone. They are
    outlined in the pictures. One target takes 35 calls, each more 32.

    Example:
        iassa verify explanations/photo
    """
    saved, saving = iassa.Explanation.load(directory), options.read_saving(context)
    name = described_as_before(options.described_model(context), saved, similar_to)
    queries = [*map(photo_reader(None, max_pixels), similar_to or [])]
    with opened_model(name, device, quiet, queries, measure) as opened:
        check = functools.partial(
            iassa.verify,
            saved,
            opened,
            fills=None if baseline is None else _read_fills(baseline),
            refine=refine or 0,
            target=target,
            batch_size=batch_size,
            device=device,
        )
        folders = {str(directory): directory}
        make_all(folders, lambda _, **by: saved.with_check(check(**by)), saving, lambda *_: "")


def _read_fills(text: str) -> BaselineLike:
    """Fills as `--baseline` of `iassa explain` has them: 0.5 is a number."""
    from iassa.methods.registry import read_fields

    fills: BaselineLike = read_fields("iassa", [f"baseline={text}"])["baseline"]
    return fills


@dataclass(frozen=True)
class Checking:
    """How `iassa explain --verify` verifies: see `iassa.verify`."""

    fills: tuple[Fill, ...]
    refine: int
    batch_size: int | None

    def describe(self) -> dict[str, Any]:
        """What the answer depends on, as JSON holds it."""
        from iassa.masks.baselines import name_fill

        return {"fills": [*map(name_fill, self.fills)], "refine": self.refine}


def choose_checking(
    wanted: bool,
    refine: int | None,
    baseline: BaselineLike,
    batch_size: int | None,
) -> Checking | None:
    """What the options of `iassa explain` say of it; None without `--verify`.

    Raises:
        InputError: `--refine` alone, or a number that cannot be, before a call is spent.
    """
    require(
        refine is None or wanted,
        f"expected --refine {refine} with --verify, got it alone. Add --verify.",
    )
    require((refine or 0) >= 0, f"expected --refine to be 0 or more, got {refine}.")
    if not wanted:
        return None
    from iassa.methods.verify import default_fills

    return Checking(default_fills(baseline), refine or 0, batch_size)


def check_made(
    made: iassa.Explanation, black_box: BlackBox, checking: Checking, **watching: Any
) -> iassa.Explanation:
    """A new explanation with what the model said of it. Whatever happens, the map is not lost.

    Raises:
        RunFailedError: the black box failed; it has the explanation.
    """
    if not made.complete:
        return made
    try:
        check = iassa.verify(
            made,
            black_box,
            fills=checking.fills,
            refine=checking.refine,
            batch_size=checking.batch_size,
            **watching,
        )
    except BlackBoxError as failure:
        raise iassa.RunFailedError.after(failure, made) from failure.__cause__
    except (InputError, CancelledError) as reason:
        told = (*made.warnings, f"the map is not verified: {reason}")
        return dataclasses.replace(made, warnings=told)
    return made.with_check(check)
