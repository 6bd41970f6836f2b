"""The pages of a gallery: one that shows all images, and one for each image.

They load nothing from elsewhere. Names are anyone's: they are escaped, and only show. Without
scripts the gallery is the same, in the order of the images.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from iassa.errors import counted, plain
from iassa.explanations.explanation import Explanation
from iassa.explanations.record import RECORD
from iassa.gallery.entry import THUMBNAIL, Entry
from iassa.gallery.photos import INDEX, Photo
from iassa.metrics.border_share import border_share

OURS = b'<meta name="generator" content="iassa">'
HEAD = 1000  # bytes, in which that stands


def is_ours(page: Path) -> bool:
    """Whether a file is a page of a gallery."""
    try:
        with page.open("rb") as file:
            return OURS in file.read(HEAD)
    except OSError:
        return False


def script_digest() -> str:
    """SHA-256 of the only script of a gallery, as a policy names it."""
    script = sorting_script().encode()
    return base64.b64encode(hashlib.sha256(script).digest()).decode()


def allow_sorting() -> str:
    """What the policy of a page says of scripts, where the body ends with `sorting_script`."""
    return f"; script-src 'sha256-{script_digest()}'"


def sorting_script() -> str:
    """Sorts the cards of a page by its buttons."""
    return _resource("sort.js")


def render_gallery(
    title: str,
    photos: Sequence[Photo],
    entries: Mapping[Photo, Entry],
    failures: Mapping[Photo, str],
    measures: str,
) -> bytes:
    """The page with all images.

    Args:
        title: of the page.
        photos: that were asked for, in the order in which they are shown.
        entries: those of them that are done.
        failures: why others could not be explained.
        measures: what the maps' values are, see `Explainer.measures`.
    """
    shown = [photo for photo in photos if photo in entries]
    left = len(photos) - len(entries) - len(failures)
    counts = [f"{counted(len(shown), 'image')} of {len(photos)}"] if left or failures else []
    counts = counts or [counted(len(shown), "image")]
    counts += [f'<a href="#failed">{len(failures)} failed</a>'] if failures else []
    counts += [f"{left} not explained yet: the same command goes on"] if left else []
    return _render(
        "gallery.html",
        allow_sorting(),
        title=as_text(title),
        counts="; ".join(counts),
        colours="Red raises the score, blue lowers it. " if measures == "effect" else "",
        cards="\n".join(_card(photo, entries[photo]) for photo in shown),
        failures=_list_failures(photos, failures),
        script=sorting_script(),
    )


def render_photo(
    photo: Photo, explanation: Explanation, entry: Entry, lines: Sequence[str] = ()
) -> bytes:
    """The page of an image.

    Args:
        photo: the image.
        explanation: of it.
        entry: of the same.
        lines: what else was found out.
    """
    names = entry.pictures or (THUMBNAIL,)
    described = as_text(f"Maps of {photo.name}")
    spent = f"{explanation.calls} in {explanation.seconds:.1f} s; stopped: {explanation.stopped}"
    facts = {
        "Model": explanation.model,
        "Method": explanation.method["name"],
        "Calls": spent,
        "Seed": explanation.seed,
        "Size": "{1} x {0} pixels (width x height)".format(*explanation.image_size),
    }
    notes = [*explanation.warnings]
    remarks = [*lines, *([] if explanation.check is None else explanation.check.lines())]
    return _render(
        "photo.html",
        "",
        title=as_text(photo.name),
        back="../" * (photo.folder.count("/") + 1) + INDEX,
        pictures="\n".join(
            f'<img src="{as_link(name)}" loading="lazy" alt="{described}: {as_text(name)}">'
            for name in names
        ),
        rows="\n".join(_rows(explanation)),
        facts="\n".join(f"<dt>{key}</dt><dd>{as_text(value)}</dd>" for key, value in facts.items()),
        notes="".join(
            f'<p class="{kind}">{as_text(text)}</p>\n'
            for kind, texts in (("warning", notes), ("note", remarks))
            for text in texts
        ),
        record=RECORD,
    )


def _card(photo: Photo, entry: Entry) -> str:
    """An image of the gallery."""
    place = f"{photo.folder}/"
    width, height = entry.size
    error = "error not known" if entry.error is None else f"&plusmn;{entry.error:.0%}"
    more = f" and {entry.further} more" if entry.further else ""
    badge = f' <b class="badge">{counted(entry.warnings, "warning")}</b>' if entry.warnings else ""
    values = {
        "name": as_text(photo.name),
        "score": repr(entry.score),
        "error": "Infinity" if entry.error is None else repr(entry.error),
        "border": repr(entry.border),
    }
    data = " ".join(f'data-{name}="{value}"' for name, value in values.items())
    described = as_text(f"The map of {entry.target} over {photo.name}")
    return (
        f'<li {data}><a href="{as_link(place + INDEX)}">'
        f'<img src="{as_link(place + THUMBNAIL)}" width="{width}" height="{height}" loading="lazy" '
        f'decoding="async" alt="{described}">'
        f"<strong>{values['name']}</strong></a>"
        f"<span>{as_text(entry.target)} {entry.score:.3g}{more}</span>"
        f"<small>{error}, border {entry.border:.0%}{badge}</small></li>"
    )


def _list_failures(photos: Sequence[Photo], failures: Mapping[Photo, str]) -> str:
    if not failures:
        return ""
    failed = [photo for photo in photos if photo in failures]
    rows = "\n".join(
        f"<dt>{as_text(photo.name)}</dt><dd>{as_text(failures[photo])}</dd>" for photo in failed
    )
    return f'<h2 id="failed">Not explained</h2>\n<dl class="failures">\n{rows}\n</dl>'


def _rows(explanation: Explanation) -> Iterator[str]:
    """A row of each target."""
    for k, target in enumerate(explanation.targets):
        error = explanation.relative_errors[k]
        known = f"{error:.1%}" if math.isfinite(error) else "not known"
        yield (
            f'<tr><th scope="row">{as_text(target.name)}</th><td>{explanation.scores[k]:.3g}</td>'
            f"<td>{known}</td><td>{border_share(explanation.saliency[k]):.0%}</td></tr>"
        )


def _render(template: str, scripts: str, *, title: str, **values: str) -> bytes:
    body = Template(_resource(template)).substitute(values, title=title)
    return render_page(body, title, scripts)


def render_page(body: str, title: str, scripts: str = "") -> bytes:
    """A page of a body.

    Args:
        body: HTML.
        title: likewise.
        scripts: what the policy of the page says of scripts.
    """
    shell = {"title": title, "scripts": scripts, "style": _resource("style.css"), "body": body}
    return Template(_resource("page.html")).substitute(shell).encode()


def _resource(name: str) -> str:
    return resources.files("iassa.gallery").joinpath(name).read_text("utf-8")


def as_text(value: object) -> str:
    """A text from outside, that only shows."""
    return html.escape(plain(str(value)))


def as_link(path: str) -> str:
    """A path from outside, relative to the page, as a link."""
    return quote(os.fsencode(path))
