"""The page of an audit: what the maps of a class share, a table of classes, and all images.

It looks as a gallery does, and like it loads nothing from elsewhere. Each image links to its page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from string import Template

from iassa.auditing.places import SharedPlace
from iassa.auditing.report import Audit, AuditedImage, ClassSummary
from iassa.errors import counted
from iassa.gallery.entry import THUMBNAIL
from iassa.gallery.pages import allow_sorting, as_link, as_text, render_page, sorting_script
from iassa.gallery.photos import INDEX, TABLES

HALF = 0.5  # of the score: an image that keeps it without its object has a badge
FEW = 6  # classes: the table of more is folded
MOST_LINKS = 12  # to images that look at a shared place
WITH_MASKS = (
    "The worst come first: the images whose positive saliency is most surely off the object, by "
    "the lower end of its 95 % interval. The white line is the border of the object."
)
WITHOUT = (
    "The worst come first: the images with most positive saliency at the border, the outer tenth "
    "of the image; a map that is even has 36 %."
)
SHARED = (
    "Maps of one class that look at one place, more often than those of other classes, may look "
    "at a stamp, a watermark or a frame. Look at the images."
)


def render_audit(
    title: str, audit: Audit, sizes: Mapping[str, tuple[int, int]], masked: bool
) -> bytes:
    """The page.

    Args:
        title: of the page.
        audit: what was found.
        sizes: (width, height) of the thumbnail of each image, by its name.
        masked: whether masks were asked for.
    """
    body = Template(resources.files("iassa.auditing").joinpath("audit.html").read_text("utf-8"))
    wrong = any(one.right is not None for one in audit.images)
    shown = body.substitute(
        title=as_text(title),
        counts="; ".join(_counts(audit)),
        meaning=WITH_MASKS if masked else WITHOUT,
        notes="".join(f'<p class="warning">{as_text(text)}</p>\n' for text in notes(audit)),
        shared=_list_shared(audit),
        classes=_tabulate(audit.classes, masked),
        buttons="\n".join(_buttons(masked, wrong)),
        cards="\n".join(_card(one, sizes[one.name]) for one in audit.images),
        failures=_list_failures(audit.failures),
        tables=" ".join(f'<a href="{name}">{name}</a>' for name in TABLES),
        script=sorting_script(),
    )
    return render_page(shown, as_text(title), allow_sorting())


def notes(audit: Audit) -> Iterator[str]:
    """What to know before the numbers are read."""
    if audit.unlabelled:
        yield f"It is not known which answers are right: {audit.unlabelled}"
    if audit.without_mask:
        yield (
            f"{counted(len(audit.without_mask), 'image')} without a mask: only the share at the "
            "border is measured, and they come last."
        )


def describe_place(place: SharedPlace) -> str:
    """What a class shares, in a sentence."""
    top, left, bottom, right = (f"{one:.0%}".replace("%", " %") for one in place.box)
    return (
        f"{len(place.images)} of {counted(place.of, 'image')} of {place.category} look at one "
        f"place, from {top} to {bottom} of the height and from {left} to {right} of the width; "
        f"{place.others} of {place.of_others} others do. If the class had nothing to do with it, "
        f"the chance of such a place in the whole audit would be {place.chance:.3f}."
    )


def _counts(audit: Audit) -> Iterator[str]:
    whole = len(audit.images) + len(audit.failures) + audit.left
    partly = len(audit.images) < whole
    images = counted(len(audit.images), "image")
    yield f"{images} of {whole}" if partly else images
    yield counted(audit.calls, "call")
    known = [one.right for one in audit.images if one.right is not None]
    if known:
        yield f"{sum(known)} of {counted(len(known), 'answer')} right"
    if audit.failures:
        yield f'<a href="#failed">{len(audit.failures)} failed</a>'
    if audit.left:
        yield f"{audit.left} not audited yet: the same command goes on"


def _buttons(masked: bool, labelled: bool) -> Iterator[str]:
    shown = {"off": "most off the object", "kept": "keeps its score without the object"}
    shown = (shown if masked else {}) | {"border": "looks at the border", "score": "highest score"}
    for value, text in (shown | ({"wrong": "wrong answers"} if labelled else {})).items():
        yield f'<button type="button" value="{value}" aria-pressed="false">{text}</button>'


def _card(image: AuditedImage, size: tuple[int, int]) -> str:
    values = {
        "off": -1.0 if image.off is None else image.off.share,
        "kept": -1.0 if image.kept is None else image.kept,
        "border": image.border,
        "score": image.score,
        "wrong": float(image.right is False),
    }
    data = " ".join(f'data-{name}="{value!r}"' for name, value in values.items())
    place, name = f"{image.folder}/", as_text(image.name)
    described = as_text(f"The map of {image.target} over {image.name}")
    return (
        f'<li id="{as_link(image.name)}" {data}><a href="{as_link(place + INDEX)}">'
        f'<img src="{as_link(place + THUMBNAIL)}" width="{size[0]}" height="{size[1]}" '
        f'loading="lazy" decoding="async" alt="{described}"><strong>{name}</strong></a>'
        f"<span>{as_text(image.target)} {image.score:.3g}</span>"
        f"<small>{'<br>'.join(_say(image))}</small></li>"
    )


def _say(image: AuditedImage) -> Iterator[str]:
    """The lines of a card."""
    if image.off is not None:
        yield f"<b>{_percent(str(image.off))} off the object</b>"
    if image.without_object is not None and image.without_background is not None:
        badge = _badge("keeps its score") if (image.kept or 0) >= HALF else ""
        yield (
            f"{badge}object hidden {image.without_object:.3g}, all else hidden "
            f"{image.without_background:.3g}"
        )
    if image.right is False:
        labels = " or ".join(image.labels)
        yield f"{_badge('wrong')}says {as_text(image.answer)}, is {as_text(labels)}"
    border = f"border {_percent(f'{image.border:.0%}')}"
    badge = f" {_badge(counted(image.warnings, 'warning'))}" if image.warnings else ""
    yield badge + (f"no mask: {as_text(image.excluded)}; {border}" if image.excluded else border)


def _badge(text: str) -> str:
    return f'<b class="badge">{text}</b> '


def _percent(text: str) -> str:
    return text.replace(" %", "&nbsp;%").replace("%", "&nbsp;%").replace("&nbsp;&nbsp;", "&nbsp;")


def _list_shared(audit: Audit) -> str:
    if not audit.shared:
        return ""
    items = []
    for place in audit.shared:
        images = [audit.images[k] for k in place.images]
        links = ", ".join(
            f'<a href="#{as_link(one.name)}">{as_text(one.name)}</a>' for one in images[:MOST_LINKS]
        )
        more = f" and {len(images) - MOST_LINKS} more" if len(images) > MOST_LINKS else ""
        items.append(f"<li>{as_text(describe_place(place))} {links}{more}</li>")
    return f"<h2>Shared places</h2>\n<p>{SHARED}</p>\n<ul>\n" + "\n".join(items) + "\n</ul>\n"


def _tabulate(classes: Sequence[ClassSummary], masked: bool) -> str:
    """A table by class, those that look most off the object, or at the border, first."""
    if len(classes) < 2:
        return ""
    names = ["class", "images", "right answers", "at the border"]
    names[3:3] = ["off the object, mean"] if masked else []
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    ordered = sorted(classes, key=lambda one: one.border if one.off is None else one.off)
    rows = "\n".join(_row(one, masked) for one in reversed(ordered))
    return (
        f"<details{' open' if len(classes) <= FEW else ''}>\n"
        f"<summary>{len(classes)} classes</summary>\n"
        f'<div class="scroll">\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n'
        "</tbody>\n</table>\n</div>\n</details>\n"
    )


def _row(one: ClassSummary, masked: bool) -> str:
    cells = [str(one.images), f"{one.right} of {one.known}" if one.known else "not known"]
    if masked:
        ends = "" if one.interval is None else " [{:.0%}, {:.0%}]".format(*one.interval)
        cells.append("no mask" if one.off is None else _percent(f"{one.off:.0%}{ends}"))
    cells.append(_percent(f"{one.border:.0%}"))
    named = f'<th scope="row">{as_text(one.category)}</th>'
    return f"<tr>{named}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _list_failures(failures: Mapping[str, str]) -> str:
    if not failures:
        return ""
    rows = "\n".join(
        f"<dt>{as_text(name)}</dt><dd>{as_text(text)}</dd>" for name, text in failures.items()
    )
    return f'<h2 id="failed">Not audited</h2>\n<dl class="failures">\n{rows}\n</dl>'
