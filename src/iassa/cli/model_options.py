"""Options that say what a model does not say of itself, the same for every command that asks one.

They become the text after the '?' of the model's name, which workers and saved runs can be given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from iassa.black_boxes import add_conventions
from iassa.conventions import DETECTORS
from iassa.errors import InputError

__all__ = ["describes_model"]

PANEL = "What a model does not say of itself"


def _conventions(
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHT,WIDTH|any",
            help="Of a model of any size; any: images as they are.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NCHW|NHWC", help="Where the model does not tell.", rich_help_panel=PANEL
        ),
    ] = None,
    range: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            metavar="0-1|0-255|-1..1",
            help="Values of black and white that the model takes, before --mean and --std.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Taken off each channel, in units of --range, by default 0-1; with --std.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="What is left is divided by it.", rich_help_panel=PANEL),
    ] = None,
    bgr: Annotated[
        bool | None,
        typer.Option(
            "--bgr/--rgb",
            help="Order of the channels, also of --mean and --std; RGB by default.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    softmax: Annotated[
        bool | None,
        typer.Option(
            "--softmax/--no-softmax",
            help="Whether to make probabilities of its outputs, or to take them as they are.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    sigmoid: Annotated[
        bool | None,
        typer.Option(
            "--sigmoid",
            help="Likewise, where several classes may be true.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    output_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which of several outputs; of a detector with commas, in the order of its layout.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Names of the classes: one a line, or JSON.", rich_help_panel=PANEL
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT",
            help="Of the outputs of a detector, where they do not tell: " + ", ".join(DETECTORS),
            rich_help_panel=PANEL,
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="The least confidence of the boxes of a detector; 0.25 if not given.",
            rich_help_panel=PANEL,
        ),
    ] = None,
) -> None:
    """The options; their names are those of the fields of `Conventions`."""


def describes_model(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options beside its own; it is handed `model` with what they say."""
    own, options = inspect.signature(command), inspect.signature(_conventions)

    @functools.wraps(command)
    def run(**given: Any) -> None:
        values = {name: given.pop(name) for name in options.parameters}
        said = {name: _text(value) for name, value in values.items() if value is not None}
        if said:
            if given["model"] is None:
                raise InputError(
                    f"expected --model with --{next(iter(said)).replace('_', '-')}. Name the model."
                )
            given["model"] = add_conventions(given["model"], said)
        command(**given)

    # Typer reads both of these, and cannot evaluate annotations that are texts, as ours are.
    hints = get_type_hints(_conventions, include_extras=True)
    hints |= get_type_hints(command, include_extras=True)
    parameters = {**own.parameters, **options.parameters}
    run.__annotations__ = hints
    run.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[each.replace(annotation=hints[name]) for name, each in parameters.items()]
    )
    return run


def _text(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"
