"""From the folder of a run to the folder of its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.report.comparison import (
    Difference,
    Mean,
    arms_at_shared_calls,
    compare_methods,
    differences,
    means,
    pairs_at_equal_calls,
    place_at_calls,
    resolve_pairs,
)
from iassa.benchmark.report.costs import costs, failed_items, stabilities
from iassa.benchmark.report.data_files import data_files
from iassa.benchmark.report.figures import draw_panels, figure_bytes, styles
from iassa.benchmark.report.page import Photo, html, markdown
from iassa.benchmark.report.pictures import (
    Strip,
    choose_entries,
    choose_rounds,
    draw_strips,
    photograph,
)
from iassa.benchmark.report.sections import Results, make_page, panels_of
from iassa.benchmark.report.statistics import NUM_RESAMPLES
from iassa.benchmark.report.trajectories import mean_curves, trajectories
from iassa.benchmark.store.records import Entry, Item, ItemKey, asked_entries
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
from iassa.files import write_whole

__all__ = ["Report", "write_report"]

ArmName: TypeAlias = tuple[str, int]
Outline: TypeAlias = Callable[[Entry], NDArray[np.bool_] | None]


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
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Report:
    """Write what a run shows: report.md, report.html, CSV files and plots.

    The run may be going on; then it is reported as far as it is.

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
        reference: label of the method that the others are held against; the first one if None.
        compare: pairs of (label, calls) to compare, at equal calls or not.
        outline: gives the annotation (H, W) of an entry to draw over its maps; None for none.
        command: that makes the report again, to be shown beside that of the run.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        What was written.

    Raises:
        InputError: there is no run, nothing of it is finished, a label, a number of calls or an
            entry is not in it, an image cannot be read, or the folder cannot be written.
    """
    run = Path(run)
    with Store.read(run) as store:
        configuration = _choose_methods(store.configuration, methods)
        items = [item for item in store.items() if item.key.method in configuration["methods"]]
        if not items:
            raise InputError(
                f"expected a run with a finished item in {run}, got none yet. Go on with it first."
            )
        maps = _Maps(store, items)
        results = _compute(
            run.resolve().name,
            configuration,
            maps,
            reference=reference,
            asked=compare,
            num_resamples=num_resamples,
            seed=seed,
        )
        photos = []
        if images is not None:
            shown = choose_entries(results.comparison.entries, pictures, Path(images))
            if shown:
                photos = _draw_photos(results, maps, shown, Path(images), outline)
        last = store.last
    results = replace(
        results,
        photos=photos,
        command=command,
        made_by=str(last.get("command", "")),
        missing=tuple(last.get("missing", ())),  # runs of before do not say
        unscored=last.get("unscored", {}),
    )
    folder = run / "report" if out is None else Path(out)
    contents = _contents(results, items, photographs)
    write_whole(folder, contents)
    return Report(
        folder=folder,
        files=tuple(folder / name for name in contents),
        finished=results.finished,
        expected=results.expected,
        entries=results.comparison.entries,
        means=tuple(results.means),
        differences=(*results.asked, *results.equal),
    )


class _Maps:
    """The maps of a run, found by what they are of."""

    def __init__(self, store: Store, items: Sequence[Item]) -> None:
        self.store = store
        self.items = items
        self._by_key = {item.key: item for item in items}

    def at_calls(self, key: ItemKey, calls: int) -> NDArray[np.float32]:
        """The map of an item at a number of calls that it has."""
        place = place_at_calls(self._by_key[key], calls)
        assert place is not None, "the entry is not among those that all methods have"
        return self.store.saliency(key, place)

    def after_rounds(self, key: ItemKey, number: int) -> NDArray[np.float32]:
        """The map of an item after a round, or the last before it."""
        taken = {
            snapshot.rounds: place
            for place, snapshot in enumerate(self._by_key[key].snapshots)
            if snapshot.budget is None and snapshot.rounds <= number
        }
        return self.store.saliency(key, taken[max(taken)])


def _choose_methods(
    configuration: Mapping[str, Any], wanted: Sequence[str] | None
) -> dict[str, Any]:
    """The configuration with the methods that are wanted."""
    known = configuration["methods"]
    if wanted is None:
        return dict(configuration)
    for label in wanted:
        if label not in known:
            raise InputError(
                f"expected a method of the run, got {label!r}. Choose among {', '.join(known)}."
            )
    if not wanted:
        raise InputError("expected a method at least, got none. Name one, or leave them out.")
    return {**configuration, "methods": {label: known[label] for label in wanted}}


def _compute(
    name: str,
    configuration: Mapping[str, Any],
    maps: _Maps,
    *,
    reference: str | None,
    asked: Sequence[tuple[ArmName, ArmName]],
    num_resamples: int,
    seed: int,
) -> Results:
    """Everything that the report tells but its pictures."""
    store, items = maps.store, maps.items
    drawing = {"num_resamples": num_resamples, "seed": seed}
    entries = store.entries()
    calls = {label: definition["calls"] for label, definition in configuration["methods"].items()}
    seeds = configuration["seeds"]
    failures = [each for each in store.failures() if each.key.method in calls]
    limit = store.last.get("limit")
    asked_for = {entry.key for entry in asked_entries(entries, limit)}
    comparison = compare_methods(
        items, entries, calls, seeds, [each.key for each in failures], limit
    )
    labels = [label for label in calls if label not in comparison.not_started]
    if reference is not None and reference not in labels:
        raise InputError(
            f"expected a reference among the methods that have finished items, got {reference!r}. "
            f"Choose among {', '.join(labels)}."
        )
    reference = reference or labels[0]
    shown = arms_at_shared_calls(comparison.arms)
    return Results(
        name=name,
        configuration=configuration,
        entries=entries,
        comparison=comparison,
        means=means(comparison, **drawing),
        reference=reference,
        equal=differences(comparison, pairs_at_equal_calls(comparison.arms, reference), **drawing),
        asked=differences(comparison, resolve_pairs(asked, comparison.arms), **drawing),
        trajectories=trajectories(items, entries, labels, seeds, **drawing),
        curves=mean_curves(store.items(with_curves=True), comparison.entries, shown, **drawing),
        costs=costs(items, labels),
        steadiness=stabilities(
            comparison.entries,
            shown if len(seeds) > 1 else [],
            lambda entry, arm: [
                maps.at_calls(ItemKey(entry.key, arm.label, each), arm.calls) for each in seeds
            ],
            **drawing,
        ),
        failed=failed_items(failures),
        finished=sum(item.key.entry in asked_for for item in items),
        expected=len(calls) * len(seeds) * len(asked_for),
        num_asked=len(asked_for),
        num_resamples=num_resamples,
        seed=seed,
    )


def _draw_photos(
    results: Results,
    maps: _Maps,
    entries: Sequence[Entry],
    images: Path,
    outline: Outline | None,
) -> list[Photo]:
    """The paper's Figure 4, methods side by side, and its Figure 5, rounds, for each method."""
    seed = results.configuration["seeds"][0]
    photographs = [
        photograph(entry, images, outline(entry) if outline else None) for entry in entries
    ]
    shown = arms_at_shared_calls(results.comparison.arms)
    strips = [
        Strip(
            each,
            [
                (str(arm), maps.at_calls(ItemKey(each.entry.key, arm.label, seed), arm.calls))
                for arm in shown
            ],
        )
        for each in photographs
    ]
    names = ", ".join(entry.key for entry in entries)
    photos = [
        _photo("maps-by-method", strips, f"Methods side by side (the paper's Figure 4): {names}.")
    ]
    for place, trajectory in enumerate(results.trajectories, start=1):
        rounds = choose_rounds(trajectory.rounds)
        keys = {each: ItemKey(each.entry.key, trajectory.label, seed) for each in photographs}
        strips = [
            Strip(each, [(f"k = {number}", maps.after_rounds(key, number)) for number in rounds])
            for each, key in keys.items()
        ]
        caption = f"{trajectory.label} along its iterations (the paper's Figure 5): {names}."
        photos.append(_photo(f"maps-by-iteration-{place}", strips, caption))
    return photos


def _photo(name: str, strips: Sequence[Strip], caption: str) -> Photo:
    columns = ", ".join(heading for heading, _ in strips[0].maps)
    rows = "; ".join(
        f"{strip.photograph.entry.category or strip.photograph.entry.target.name} in "
        f"{strip.photograph.entry.image}"
        for strip in strips
    )
    description = f"{len(strips)} rows, each a photograph and its maps by {columns}: {rows}."
    return Photo(name, caption, description, figure_bytes(draw_strips(strips), "jpeg"))


def _contents(results: Results, items: Sequence[Item], photographs: bool) -> dict[str, bytes]:
    """The files of the report by name."""
    page = make_page(results)
    looks = styles(list(results.configuration["methods"]))
    plots: dict[str, bytes] = {}
    for name, panels in panels_of(results).items():
        figure = draw_panels(panels, looks)
        plots[f"{name}.png"] = figure_bytes(figure, "png")
        figure.set_layout_engine("none")  # it has its places, which take long to find
        plots[f"{name}.svg"] = figure_bytes(figure, "svg")
    return {
        "report.md": markdown(page, photographs=photographs),
        "report.html": html(page),
        **data_files(results.means, (*results.asked, *results.equal), results.entries, items),
        **plots,
        **({f"{photo.name}.jpg": photo.jpeg for photo in results.photos} if photographs else {}),
    }
