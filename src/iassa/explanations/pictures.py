"""The pictures of an explanation, as files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from iassa.checks import take
from iassa.explanations.record import picture_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures: TypeAlias = Literal["none", "sheet", "all", "named"]


def render(
    targets: Sequence[str],
    pictures: Pictures,
    plot: Callable[[int], Figure],
    plot_sheet: Callable[[], Figure],
) -> Iterator[tuple[str, bytes]]:
    """The files that `Explanation.draw` writes, drawn while they are iterated over.

    Args:
        targets: names of the targets.
        pictures: see `Explanation.draw`.
        plot: draws a target, by its place.
        plot_sheet: draws all of them.

    Yields:
        The name and the content of each, PNG.

    Raises:
        InputError: no such choice of pictures.
    """
    from iassa.explanations.drawing import figure_png

    take(pictures, Pictures, "pictures")
    wanted: dict[str, Callable[[], Figure]] = {}
    for k, target in enumerate(targets if pictures in ("all", "named") else ()):
        name = picture_name(k, target if pictures == "named" else "")
        wanted[name] = functools.partial(plot, k)
    if pictures == "sheet" or len(wanted) > 1:
        wanted["sheet.png"] = plot_sheet
    for name, draw in wanted.items():
        yield name, figure_png(draw())
