"""`iassa explain` and `iassa extend`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

import iassa
from iassa.cli import completing, options
from iassa.cli.black_box import described_as_before, opened_model, photo_reader
from iassa.cli.galleries import Workers, explain_gallery, find_gallery
from iassa.cli.making import make_all
from iassa.cli.wishes import read_calls, read_fields_of, read_wishes
from iassa.errors import InputError
from iassa.files import folder_name

if TYPE_CHECKING:
    from iassa.decoding import ImageFile
    from iassa.methods.engine.base import Explainer
    from iassa.models.black_box import BlackBox

NO_CALLS = (
    "expected --target without the options of a run, as another target needs no model call, or the "
    "targets that were explained. Leave out --model, --calls and the like, or explain anew."
)

Images = Annotated[
    list[Path] | None,
    Argument(
        metavar="IMAGE",
        help="Image files; or folders and patterns in quotes, of which all images go into one "
        "gallery.",
    ),
]
Example = Annotated[
    str | None,
    Option(
        metavar="cat|coffee",
        help="A photograph that is bundled, to try it.",
        autocompletion=completing.among("cat", "coffee"),
    ),
]
Targets = Annotated[
    list[str] | None,
    Option(
        metavar="TARGET",
        autocompletion=completing.targets,
        help="What to explain, repeatable: top-1 (default), top-5, a class name or index, a group "
        "'281,tabby', a contrast 'tabby vs lynx', 'not lynx', or package.module:function of the "
        "scores, (N, K) -> (N,) (its code is run). With --similar-to its file names, all by "
        "default. With a detector its boxes by class, 'dog' or 'dog 2'.",
    ),
]
Boxes = Annotated[
    list[str] | None,
    Option(
        metavar="T,L,B,R[:CLASS]",
        help="A box for a detector to explain: top, left, bottom, right in pixels; repeatable.",
    ),
]
Method = Annotated[
    str,
    Option(
        metavar="NAME",
        autocompletion=completing.among(*completing.METHODS),
        help=f"{', '.join(completing.METHODS)}. `iassa methods` lists them with their fields.",
    ),
]
Settings = Annotated[
    list[str] | None,
    Option("--set", metavar="FIELD=VALUE", help="A field of the method; repeatable."),
]
Baseline = Annotated[
    str | None,
    Option(
        metavar="FILL[,FILL]",
        autocompletion=completing.several(*completing.FILLS),
        help="What hidden pixels show: a grey (default 0.5), r,g,b, #rrggbb, zero, grey, mean, "
        "blur, noise, or an image file. Of several, as in grey,blur, each has its share of the "
        "masks, and the map is the mean over them. Short for --set baseline=FILL.",
    ),
]
Calls = Annotated[
    str,
    Option(
        metavar="N|auto",
        help="Budget of model calls for the maps, never exceeded; auto: as many as a standard "
        "error of 10 % takes, at most 4000.",
    ),
]
Keep = Annotated[
    str, Option(metavar="N|all", help="Save the N highest outputs, for `iassa extend --target`.")
]
Verify = Annotated[
    bool,
    Option(
        "--verify",
        help="Then ask, beyond --calls, about the regions that keep the score and that lose it: 35 "
        "calls, 32 for each target more.",
    ),
]
Out = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Folder for the result, of several images one folder each in it; default: "
        "explanations/IMAGE, of a folder explanations/FOLDER.",
    ),
]
NewTargets = Annotated[
    list[str] | None,
    Option(
        metavar="TARGET",
        autocompletion=completing.targets,
        help="Explain this from the same masks, without a call; repeatable. With --calls or "
        "--model: the targets that were explained, named again, as package.module:function must "
        "be.",
    ),
]
MoreCalls = Annotated[
    str | None,
    Option(
        metavar="N|auto", help="Most calls to add, or auto, as `explain` has it; default: 1000."
    ),
]
NewOut = Annotated[
    Path | None,
    Option(metavar="DIR", help="Folder for the result; default: DIR, with --target DIR-TARGET."),
]
LONGEST_NAME = 200  # bytes of a folder's name; systems allow 255


def explain(
    context: typer.Context,
    images: Images = None,
    example: Example = None,
    target: Targets = None,
    box: Boxes = None,
    similar_to: options.SimilarTo = None,
    measure: options.Measure = None,
    method: Method = "iassa",
    set_: Settings = None,
    baseline: Baseline = None,
    calls: Calls = "1000",
    seconds: options.Seconds = None,
    tolerance: options.Tolerance = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    keep: Keep = "10",
    verify: Verify = False,
    refine: options.Refine = None,
    white: options.White = None,
    max_pixels: options.MaxPixels = None,
    workers: options.Workers = 1,
    ray: options.Ray = None,
    out: Out = None,
    overwrite: options.Overwrite = False,
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
    """Explain which parts of an image a model relies on.

    Examples:
        iassa explain --example cat
        iassa explain photo.jpg --target "tabby vs Egyptian cat" --calls 2000
        iassa explain *.jpg --model net.onnx --range 0-255 --out maps
        iassa explain photos --workers 2 --out gallery
    """
    saving, crew = options.read_saving(context), Workers(workers, ray)
    photos = find_gallery(images or [], example, crew)
    folders = {} if photos else _folders(images or [], example, out)
    wishes = read_wishes(context)
    name = options.described_model(context) or _default_model(similar_to)
    photo = photo_reader(white, max_pixels)
    queries = [*map(photo_reader(None, max_pixels), similar_to or [])]
    paths = [str(one.path) for one in photos.photos] if photos else [*folders]
    with opened_model(name, device, quiet, queries, measure, box, [*map(photo, paths)]) as opened:
        differs = functools.partial(_differ, photo, opened, wishes.method, wishes.target)
        if photos is not None:
            sent = opened if queries or box else name
            asking = wishes.asking(photo("").reading, saving.pictures)
            settings = wishes.settings() | {"white": white, "pictures": pictures}
            explain_gallery(photos, out, crew, saving, asking, sent, opened, settings, differs)

        def ask(path: str, **watching: Any) -> iassa.Explanation:
            return wishes.ask(photo(path), opened, **watching)

        make_all(folders, ask, saving, differs)


def _default_model(similar_to: list[str] | None) -> str:
    from iassa.models import efficientnet_lite0

    return efficientnet_lite0.FEATURES if similar_to else efficientnet_lite0.NAME


def _differ(
    photo: Callable[[str], ImageFile],
    black_box: BlackBox,
    method: Explainer,
    target: Any,
    path: str,
    there: iassa.Explanation,
) -> str:
    """How a saved explanation differs from the one that is asked for; empty if it does not."""
    from iassa.image import as_image
    from iassa.methods.engine.replacing import find_difference
    from iassa.models.identity import digest_arrays

    digest = digest_arrays([as_image(photo(path))])
    return find_difference(there, digest, black_box.identity(), method.as_dict(), target)


def extend(
    context: typer.Context,
    directory: options.Saved,
    target: NewTargets = None,
    similar_to: options.SimilarTo = None,
    measure: options.Measure = None,
    set_: Settings = None,
    baseline: Baseline = None,
    max_pixels: options.MaxPixels = None,
    calls: MoreCalls = None,
    seconds: options.Seconds = None,
    tolerance: options.Tolerance = None,
    batch_size: options.BatchSize = None,
    out: NewOut = None,
    overwrite: options.Overwrite = False,
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
    """Add calls to a saved explanation, or explain another target from its masks.

    More calls go into DIR: the map is the same as if all had been asked for at
    once. Another target goes into a folder beside it, DIR-TARGET. Nothing that
    a saved file names is opened: name files and code again, with --model,
    --target, --baseline and --set features=.

    Examples:
        iassa extend explanations/photo --calls 1000
        iassa extend explanations/photo --target tabby
    """
    saved, saving = iassa.Explanation.load(directory), options.read_saving(context)
    differs = functools.partial(_changes, saved, target or saved.targets)
    name = options.described_model(context)
    again = read_fields_of(str(saved.method["name"]), baseline, set_ or [])
    of_run = (name, similar_to, measure, max_pixels, device, calls, seconds, tolerance, batch_size)
    if target is not None and all(one is None for one in of_run):
        retarget = functools.partial(iassa.retarget, saved, target, method=again)
        folders = {str(directory): out or _beside(directory, target)}
        make_all(folders, lambda *_, **__: retarget(), saving, differs)
        return
    if target is not None and differs("", saved):
        raise InputError(NO_CALLS)
    black_box = described_as_before(name, saved, similar_to)
    more = 1000 if calls is None else read_calls(calls)
    saving = replace(saving, overwrite=overwrite or out in (None, directory))
    queries = [*map(photo_reader(None, max_pixels), similar_to or [])]
    folders = {str(directory): out or directory}
    with opened_model(black_box, device, quiet, queries, measure) as opened:
        go_on = functools.partial(
            iassa.extend,
            saved,
            opened,
            calls=more,
            max_seconds=seconds,
            tolerance=tolerance,
            batch_size=batch_size,
            method=again,
            target=target,
        )
        make_all(folders, lambda _, **by: go_on(**by), saving, differs)


def _changes(saved: iassa.Explanation, target: Any, _: str, there: iassa.Explanation) -> str:
    """How an explanation differs from a saved one of another target; see `_differ`."""
    from iassa.methods.engine.replacing import digest_of, find_difference

    return find_difference(there, digest_of(saved), saved.identity, saved.method, target)


def _beside(directory: Path, targets: list[str]) -> Path:
    """The folder for other targets of what a folder holds, which stays as it is."""
    whole = directory if directory.name not in ("", "..") else directory.resolve()
    name = "-".join([whole.name, *targets]).encode(errors="ignore")[:LONGEST_NAME]
    return whole.parent / folder_name(name.decode(errors="ignore"))


def _folders(images: list[Path], example: str | None, out: Path | None) -> dict[str, Path]:
    """The folder for the results of each image, by the name of the image."""
    if bool(images) == bool(example):
        raise InputError("expected image files or --example cat, one of the two. See --help.")
    names = {f"example:{example}": example or ""}
    if not example:
        names = {str(path): folder_name(path.stem.removeprefix("example:")) for path in images}
    if len(set(names.values())) < len(images):
        raise InputError(
            "expected images with different names, since the name is the folder of the result. "
            "Explain them one at a time with --out."
        )
    if out is not None and len(names) == 1:
        return dict.fromkeys(names, out)
    return {photo: (out or Path("explanations")) / name for photo, name in names.items()}
