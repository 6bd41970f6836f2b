"""`iassa app`: a page on this machine, on which a map refines while it is made."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from iassa.cli import completing, options
from iassa.cli.black_box import opened_model, photo_reader
from iassa.errors import InputError

Folders = Annotated[
    list[Path] | None,
    Argument(metavar="DIR", help="Galleries and runs of benchmarks to browse, or folders of them."),
]
Also = Annotated[
    list[str] | None,
    Option(
        metavar="MODEL",
        autocompletion=completing.models,
        help="Another model that a visitor may choose, as --model takes it, with its fields behind "
        "a '?'; repeatable.",
    ),
]
Host = Annotated[
    str,
    Option(
        metavar="ADDRESS",
        help="Where to listen. With any but 127.0.0.1 others can reach the page, and need the "
        "token in the address that is printed.",
    ),
]
Port = Annotated[int, Option(metavar="N", help="0 takes a free one.", min=0, max=65535)]
Name = Annotated[
    list[str] | None,
    Option(
        metavar="NAME",
        help="A name under which the page is reached, as of a proxy in front of it; repeatable.",
    ),
]
TokenEnv = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Variable with a token of yours, of 16 letters or more; default: a new one.",
    ),
]
Browser = Annotated[bool, Option("--open/--no-open", help="Open the page in a browser.")]


def app(
    context: typer.Context,
    folders: Folders = None,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    open_: Browser = False,
    also: Also = None,
    name: Name = None,
    token_env: TokenEnv = None,
    max_pixels: options.MaxPixels = None,
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
    """Serve a page on this machine: drop an image, and watch its map refine.

    The page is at the address that is printed. Ctrl-C ends it. A visitor may
    choose among the models that are named here, and name no other.

    Examples:
        iassa app
        iassa app --model net.onnx --range 0-1 --softmax --port 0
        iassa app explanations runs --host 0.0.0.0 --token-env TOKEN
    """
    from iassa.app.access import Access, listen, make_token
    from iassa.app.desk import Desk
    from iassa.app.serving import Site
    from iassa.models.efficientnet_lite0 import FEATURES, NAME

    token = make_token(host, _read_token(token_env))
    described = options.described_model(context) or NAME
    reading = photo_reader(None, max_pixels)("").reading
    with (
        listen(host, port) as listening,
        opened_model(described, device, quiet) as opened,
    ):
        names = [described, *(also or []), NAME, FEATURES]
        models = {**dict.fromkeys(names), described: opened}
        desk = Desk(models, device, reading, folders or [])
        access = Access(host, listening.getsockname()[1], token, tuple(name or []))

        def ready() -> None:
            typer.echo(access.url)
            sys.stdout.flush()
            if open_:
                threading.Thread(target=webbrowser.open, args=[access.url], daemon=True).start()

        Site(desk, access, listening, ready).run()


def _read_token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable)
    if token is None:
        raise InputError(f"expected a token in the variable {variable}, got none. Set it.")
    return token
