"""What a page can ask for, whatever server carries it: each method answers one kind of request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import iassa
from iassa.app.layers import draw_bar, draw_view, pack, value_at
from iassa.app.looking import (
    Look,
    Photo,
    example_file,
    find_names,
    look,
    open_photo,
    read_targets,
)
from iassa.app.measuring import measure_curves, measure_region
from iassa.app.run import Run
from iassa.app.sessions import Limits, Pane, Session, Sessions, Shown
from iassa.app.shelf import Shelf
from iassa.app.turns import Turns
from iassa.checks import Within
from iassa.decoding import Reading
from iassa.errors import InputError, list_some, require
from iassa.explanations.drawing import View
from iassa.masks import FILLS
from iassa.methods import METHODS, open_method
from iassa.metrics import rank_correlation, top_overlap
from iassa.models import BlackBox
from iassa.models.efficientnet_lite0 import FEATURES
from iassa.models.targets import find_target

MOST_CALLS = 100_000  # of one request
MOST_QUERIES = 4
MAP_SIZE = 2**21  # bytes of the largest map with its error
FILL_CHOICES = (*FILLS, "grey,blur")
PANES: tuple[Pane, ...] = ("a", "b")

Calls = Annotated[int, Within(1, MOST_CALLS)]
Share = Annotated[float, Within(0, 1, above=True)]
Tolerance = Annotated[float | None, Within(0, 1, above=True, below=True)]
Place = Annotated[int, Within(0, 1000)]


@dataclass(frozen=True)
class LookWish:
    """Which model is to look at the image, and whether it compares it with the other images."""

    model: str
    compare: bool = False


@dataclass(frozen=True)
class StartWish:
    """What is to be explained, by one method or by two."""

    targets: tuple[str, ...]
    methods: tuple[str, ...]
    calls: Calls
    fill: str = "grey"
    seed: Annotated[int, Within(0, 2**31)] = 0
    tolerance: Tolerance = None


@dataclass(frozen=True)
class PaneWish:
    """One of the two maps."""

    pane: Literal["a", "b"]


@dataclass(frozen=True)
class MoreWish(PaneWish):
    """Calls to add to it."""

    calls: Calls


@dataclass(frozen=True)
class TargetWish(PaneWish):
    """One of its targets."""

    target: Place


@dataclass(frozen=True)
class RegionWish(TargetWish):
    """The highest part of its map."""

    share: Share


class Desk:
    """The models, the sessions and the folders, and what is done with them.

    Attributes:
        sessions: of all tabs.
        turns: the thread that asks the models.
        shelf: the folders to browse.
    """

    def __init__(
        self,
        models: Mapping[str, BlackBox | None],
        device: str | None = None,
        reading: Reading | None = None,
        folders: Sequence[Path] = (),
        limits: Limits | None = None,
    ) -> None:
        """Begin the thread of the models.

        Args:
            models: by the name that `iassa.open_model` takes; None for one that is opened when it
                is first chosen. A visitor may choose among these, and name no other.
            device: where they run.
            reading: how image files are read.
            folders: to browse.
            limits: of the sessions; None for the usual ones.

        Raises:
            InputError: a folder with nothing to browse.
        """
        self.shelf = Shelf(folders)
        self.sessions = Sessions(limits or Limits())
        self._models = dict(models)
        self._device = device
        self._reading = reading or Reading()
        self.turns = Turns()

    def close(self) -> None:
        """End after the batch in flight."""
        self.sessions.stop()
        self.turns.close()

    def settings(self) -> dict[str, Any]:
        """What can be chosen, and what can be browsed."""
        return {
            "models": [*self._models],
            "features": FEATURES if FEATURES in self._models else "",
            "methods": [*METHODS],
            "fills": [*FILL_CHOICES],
            "most": MOST_CALLS,
            "places": [
                {"name": one.name, "kind": one.kind, "number": k}
                for k, one in enumerate(self.shelf.places)
            ],
        }

    # --- an image -----------------------------------------------------------------------------

    def upload(
        self, session: Session, name: str, content: bytes, *, compare: bool
    ) -> Future[dict[str, Any]]:
        """Take an image file: the one to explain, or one to compare it with."""
        self.sessions.make_room(2 * len(content))

        def read() -> dict[str, Any]:
            photo = open_photo(name, content, self._reading)
            if compare:
                session.queries = (*session.queries, photo)[-MOST_QUERIES:]
            else:
                session.stop()
                session.photo, session.shown = photo, {}
            session.look = None
            return _describe(photo)

        return self.turns.ask(read)

    def example(self, session: Session, name: str) -> Future[dict[str, Any]]:
        """Take one of the bundled photographs."""

        def read() -> dict[str, Any]:
            photo = open_photo(f"{name}.png", example_file(name), self._reading)
            session.stop()
            session.photo, session.shown, session.look = photo, {}, None
            return _describe(photo)

        return self.turns.ask(read)

    def drop_queries(self, session: Session) -> dict[str, Any]:
        """Compare with no image."""
        session.queries, session.look = (), None
        return {}

    def look(self, session: Session, wish: LookWish) -> Future[dict[str, Any]]:
        """Ask a model about the image: what can be explained at once."""
        photo = _photo(session)
        require(
            wish.model in self._models,
            f"expected one of the models of this page, got {wish.model!r}. They are named where it "
            f"is started: {list_some(self._models)}.",
        )
        queries = session.queries if wish.compare else ()
        require(
            queries or not wish.compare,
            "expected an image to compare with, got none. Upload one.",
        )

        def see() -> dict[str, Any]:
            seen = look(photo, self._reading, self._open(wish.model), queries)
            if session.photo is photo:
                session.look = seen
            return seen.as_json()

        return self.turns.ask(see)

    def find(self, session: Session, text: str) -> dict[str, Any]:
        """Names of classes that hold a text."""
        return {"names": find_names(text, _look(session).names)}

    # --- a map --------------------------------------------------------------------------------

    def start(self, session: Session, wish: StartWish) -> dict[str, Any]:
        """Begin one map, or two of two methods at equal calls, in the place of those there were."""
        photo, seen = _photo(session), _look(session)
        targets = read_targets(wish.targets)
        require(
            1 <= len(wish.methods) <= len(PANES) and wish.fill in FILL_CHOICES,
            f"expected one method or two and a fill among {', '.join(FILL_CHOICES)}, got "
            f"{list_some(wish.methods)} and {wish.fill!r}.",
        )
        methods = [open_method(name, baseline=wish.fill) for name in wish.methods]
        limits = {"target": targets, "calls": wish.calls, "seed": wish.seed}
        self.sessions.make_room(len(methods) * len(targets) * MAP_SIZE)
        session.stop()
        shown: dict[Pane, Shown] = {}
        for pane, method in zip(PANES, methods, strict=False):
            run = Run(
                lambda: photo.decode(self._reading),
                photo.name,
                seen.black_box,
                method,
                limits,
                tolerance=wish.tolerance,
            )
            shown[pane] = Shown(run)
        session.shown = shown  # whole, as another thread reads it
        for one in shown.values():
            self.turns.take(one.run.step)
        return session.as_json()

    def stop(self, session: Session) -> dict[str, Any]:
        """Stop what is computed for the page; the maps so far are kept."""
        session.stop()
        return session.as_json()

    def add(self, session: Session, wish: MoreWish) -> dict[str, Any]:
        """Go on with a map that ended."""
        run = _shown(session, wish.pane).run
        require(
            not run.goes_on and run.can_extend,
            "expected a map that ended, of a method that can go on, got another. Wait for its end, "
            "or start anew with more calls.",
        )
        run.add(wish.calls)
        self.turns.take(run.step)
        return session.as_json()

    def measure(self, session: Session, wish: RegionWish) -> Future[dict[str, Any]]:
        """Ask the model about a region alone, and about all but that: two calls."""
        shown = _shown(session, wish.pane)
        made = _made(shown)

        def ask() -> dict[str, Any]:
            found = measure_region(made, wish.target, wish.share, shown.run.black_box)
            shown.remains = found
            return {"whole": found.whole, "kept": found.kept, "lost": found.lost}

        return self.turns.ask(ask)

    def curves(self, session: Session, wish: TargetWish) -> Future[dict[str, Any]]:
        """Ask the model about the map's order: the curves of building up and taking away."""
        shown = _shown(session, wish.pane)
        made = _made(shown)

        def ask() -> dict[str, Any]:
            shown.curves[wish.target] = measure_curves(made, wish.target, shown.run.black_box)
            return shown.curves[wish.target].as_json()

        return self.turns.ask(ask)

    def alike(self, session: Session, target: int) -> dict[str, Any]:
        """How alike the two maps of a target are, by the order of their pixels."""
        maps = [_made(_shown(session, pane)) for pane in PANES]
        first, second = (one.saliency[find_target(target, one.targets)] for one in maps)
        return {"rank": rank_correlation(first, second), "top": top_overlap(first, second)}

    # --- pictures and files -------------------------------------------------------------------

    def photo(self, session: Session) -> bytes:
        """The image, as a JPEG file for the page."""
        return _photo(session).shown

    def view(
        self, session: Session, pane: Pane, view: View, target: int, share: float | None
    ) -> bytes:
        """A view of a map, as a PNG file."""
        return draw_view(_made(_shown(session, pane)), target, view, share)

    def bar(self, session: Session, pane: Pane, target: int, view: View) -> bytes:
        """The colours of a map or of its error, as a PNG file."""
        return draw_bar(_made(_shown(session, pane)), target, view)

    def value(
        self, session: Session, pane: Pane, target: int, row: int, column: int
    ) -> dict[str, Any]:
        """A map and its error at a pixel."""
        return value_at(_made(_shown(session, pane)), target, row, column)

    def remains(self, session: Session, pane: Pane, number: int) -> bytes:
        """What the model saw of the region that was measured last: 0 it alone, 1 all but it."""
        found = _shown(session, pane).remains
        if found is None or number not in (0, 1):
            raise InputError("expected a region that was measured, got none. Measure one.")
        return found.pictures[number]

    def step(self, session: Session, pane: Pane, target: int, way: int, number: int) -> bytes:
        """What the model saw at a step of a curve: of way 0 building up, 1 taking away."""
        found = _shown(session, pane).curves.get(target)
        known = found is not None and way in (0, 1) and 0 <= number < len(found.pictures[0])
        if found is None or not known:
            raise InputError("expected a step of a curve that was measured, got another.")
        return found.pictures[way][number]

    def download(self, session: Session, pane: Pane) -> bytes:
        """The files that `iassa explain` writes, as a ZIP archive."""
        return pack(_made(_shown(session, pane)))

    # --- inside -------------------------------------------------------------------------------

    def _open(self, name: str) -> BlackBox:
        """A model, opened once; by the thread that asks it."""
        opened = self._models[name]
        if opened is None:
            opened = self._models[name] = iassa.open_model(name, self._device)
        return opened


def _describe(photo: Photo) -> dict[str, Any]:
    return {"name": photo.name, "size": [*photo.size], "warnings": [*photo.warnings]}


def _photo(session: Session) -> Photo:
    if session.photo is None:
        raise InputError("expected an image, got none. Upload one first.")
    return session.photo


def _look(session: Session) -> Look:
    if session.look is None:
        raise InputError("expected a model that looked at the image, got none. Choose one.")
    return session.look


def _shown(session: Session, pane: Pane) -> Shown:
    if pane not in session.shown:
        raise InputError("expected a map, got none here. Start one.")
    return session.shown[pane]


def _made(shown: Shown) -> iassa.Explanation:
    if shown.run.explanation is None:
        raise InputError("expected a map, got none yet. Wait for the first.")
    return shown.run.explanation
