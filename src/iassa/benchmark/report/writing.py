"""From the folder of a run to the folder of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iassa.benchmark.report.comparison import Difference, Mean
from iassa.benchmark.report.data_files import data_files
from iassa.benchmark.report.figures import draw_panels, figure_bytes, styles
from iassa.benchmark.report.page import render_page
from iassa.benchmark.report.pictures import Outline, choose_entries, draw_photos
from iassa.benchmark.report.results import ArmName, compute_results
from iassa.benchmark.report.sections import write_text
from iassa.benchmark.report.statistics import Bootstrap
from iassa.benchmark.store.records import Entry
from iassa.benchmark.store.store import Store
from iassa.errors import plain
from iassa.files import user_path, write_whole


@dataclass(frozen=True, eq=False)
class Report:
    """A report that was written.

    Attributes:
        folder: that it is in.
        files: in it, `report.md` and `report.html` first.
        finished: number of items that the run has finished, of those asked for.
        expected: number of items that were asked for: those of all methods on as many entries as
            the limit of the last command allows.
        entries: that are compared.
        means: of all methods at all numbers of calls.
        differences: of all pairs that were compared, those asked for first.
    """

    folder: Path
    files: tuple[Path, ...]
    finished: int
    expected: int
    entries: tuple[Entry, ...]
    means: tuple[Mean, ...]
    differences: tuple[Difference, ...]


def write_report(
    run: Path,
    out: Path | None = None,
    images: Path | None = None,
    pictures: int | Sequence[str] = 6,
    *,
    photographs: bool = False,
    methods: Sequence[str] | None = None,
    reference: str | None = None,
    compare: Sequence[tuple[ArmName, ArmName]] = (),
    outline: Outline | None = None,
    command: str = "",
    num_resamples: int = Bootstrap.num_resamples,
    seed: int = 0,
) -> Report:
    """Write what a run shows: report.md, report.html, CSV files and plots.

    The run may still be going on; the report then shows what is finished.

    Args:
        run: folder of the run.
        out: folder to write into, `report` in the run's if None. Files of the same names are
            replaced, others are left alone.
        images: folder that the names of the images start from; None for no pictures.
        pictures: keys of the entries to show, or how many, spread over the images.
        photographs: whether the pictures go into report.md too, and into files beside it; else
            they are in report.html alone.
        methods: labels to compare; all of the run's if None. Fewer may have more entries in
            common.
        reference: label of the method that the others are compared with; the first one if None.
        compare: pairs of (label, calls) to compare, at equal calls or not.
        outline: gives the annotation (H, W) of an entry to draw over its maps; None for none.
        command: that makes the report again, shown beside that of the run.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        What was written.

    Raises:
        InputError: there is no run, nothing of it is finished, a label, a number of calls or an
            entry is not in it, an image cannot be read, or the folder cannot be written.
    """
    run = user_path(run)
    bootstrap = Bootstrap(num_resamples, seed)
    with Store.read(run) as store:
        results = compute_results(store, methods, reference, compare, bootstrap)
        photos = []
        if images is not None:
            shown = choose_entries(results.comparison.entries, pictures, Path(images))
            if shown:
                photos = draw_photos(results, store, shown, Path(images), outline)
    looks, panels = styles(list(results.configuration["methods"])), results.panels()
    title = f"Benchmark {run.resolve().name}"
    short, whole = (
        write_text(title, results, photos, command, show_photos=each)
        for each in (photographs, True)
    )
    differences = (*results.asked, *results.equal)
    contents = {
        "report.md": _plainly(short),
        "report.html": _plainly(render_page(title, whole, panels, looks, photos)),
        **data_files(results.means, differences, results.entries, results.items),
    }
    for name in filter(panels.get, panels):
        figure = draw_panels(panels[name], looks)
        contents[f"{name}.png"] = figure_bytes(figure, "png")
        figure.set_layout_engine("none")  # it has its places, which take long to find
        contents[f"{name}.svg"] = figure_bytes(figure, "svg")
    if photographs:
        contents |= {f"{photo.name}.jpg": photo.jpeg for photo in photos}
    folder = run / "report" if out is None else user_path(out)
    write_whole(folder, contents)
    return Report(
        folder=folder,
        files=tuple(folder / name for name in contents),
        finished=results.finished,
        expected=results.expected,
        entries=results.comparison.entries,
        means=tuple(results.means),
        differences=differences,
    )


def _plainly(document: str) -> bytes:
    """A document whose names from outside only show, line by line."""
    return "\n".join(map(plain, document.split("\n"))).encode()
