"""Options about a model, the same for every command that asks one.

What a model does not say of itself, and how one at a URL is asked. They become part of the model's
name, the text after its '?' or, of a URL, its '#': that goes wherever the name goes, into workers
too, and holds no secret.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

from iassa.errors import InputError
from iassa.models.conventions import DETECTORS
from iassa.models.http.endpoint import FORMS, is_url
from iassa.models.opening import add_conventions

__all__ = ["describes_model"]

PANEL = "What a model does not say of itself"
URL_PANEL = "How a model at a URL is asked"

Command: TypeAlias = Callable[..., None]


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
) -> None:
    """The options; their names are those of the fields of `Conventions`."""


def _detector_conventions(
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
    """The options that only a detector has, likewise."""


def _settings(
    form: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(FORMS)}; v2 at .../v2/models/NAME and json elsewhere, if not given.",
            rich_help_panel=URL_PANEL,
        ),
    ] = None,
    auth_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that holds the authorisation header: 'Bearer ...'.",
            rich_help_panel=URL_PANEL,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds to wait for an answer; 60 if not given.", rich_help_panel=URL_PANEL
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            help="How often a request is repeated; 5 times if not given.", rich_help_panel=URL_PANEL
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="The most requests a second; of each process, where a benchmark has several.",
            rich_help_panel=URL_PANEL,
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            help="The most requests at a time, likewise; 4 if not given.", rich_help_panel=URL_PANEL
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder to keep the scores in: what it holds is not asked again.",
            rich_help_panel=URL_PANEL,
        ),
    ] = None,
) -> None:
    """The options; their names are those of the fields of `HttpModel`."""


def describes_model(*, detectors: bool) -> Callable[[Command], Command]:
    """Give a command the options beside its own; it is handed `model` with what they say.

    Args:
        detectors: whether it has a use for detectors, and so the options that only they have.

    Raises:
        TypeError: an option of the command's own has the name of one of these, which would take
            its values.
    """

    def with_options(command: Command) -> Command:
        own = inspect.signature(command)
        functions = [_conventions, _detector_conventions] if detectors else [_conventions]
        conventions = _parameters(*functions)
        settings = _parameters(_settings)
        twice = own.parameters.keys() & (conventions | settings).keys()
        if twice:
            raise TypeError(
                f"expected options of its own for {command.__name__}, got {', '.join(twice)} of "
                "its model as well. Name them differently."
            )

        @functools.wraps(command)
        def run(**given: Any) -> None:
            said, asked = (_given(names, given) for names in (conventions, settings))
            if said or asked:
                if given["model"] is None:
                    kind = "a URL as --model" if asked else "--model"
                    options = ", ".join(_options(said | asked))
                    raise InputError(f"expected {options} with {kind}, got none. Name the model.")
                given["model"] = _add_settings(add_conventions(given["model"], said), asked)
            command(**given)

        parameters = _parameters(command) | conventions | settings
        # Typer reads both of these, and cannot evaluate annotations that are texts, as ours are.
        run.__annotations__ = {name: each.annotation for name, each in parameters.items()}
        run.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=list(parameters.values())
        )
        return run

    return with_options


def _parameters(*functions: Command) -> dict[str, inspect.Parameter]:
    """Those of all functions by name, with annotations that are evaluated."""
    return {
        name: each.replace(annotation=get_type_hints(function, include_extras=True)[name])
        for function in functions
        for name, each in inspect.signature(function).parameters.items()
    }


def _given(names: Iterable[str], given: dict[str, Any]) -> dict[str, str]:
    """Take what was typed of some options out of `given`, as texts."""
    values = {name: given.pop(name) for name in names}
    return {name: _text(value) for name, value in values.items() if value is not None}


def _add_settings(model: str, said: dict[str, str]) -> str:
    if said and not is_url(model):
        raise InputError(
            f"expected {', '.join(_options(said))} with a URL as --model, got {model}."
        )
    return add_conventions(model, said)


def _options(said: dict[str, str]) -> list[str]:
    """As they are typed."""
    return [f"--{name.replace('_', '-')}" for name in said]


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
