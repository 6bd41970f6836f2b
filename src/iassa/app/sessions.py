"""What the page of each visitor holds. A tab has a session of its own, whose name nobody guesses.

A session is forgotten when its tab has been gone for a while, or when others need the room.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from iassa.app.layers import describe
from iassa.app.looking import Look, Photo
from iassa.app.measuring import Curves, Remains
from iassa.app.run import Run

Pane: TypeAlias = Literal["a", "b"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is held, and for how long.

    Attributes:
        sessions: at most.
        size: bytes of all of them.
        gone: seconds without a stream of events, after which a tab counts as closed.
        kept: seconds without one, after which its session is forgotten.
    """

    sessions: int = 32
    size: int = 2**30
    gone: float = 5.0
    kept: float = 300.0


class FullError(Exception):
    """There is no room for another session, or for what one would hold."""


@dataclass(eq=False)
class Shown:
    """One of the two maps of a page.

    Attributes:
        run: that makes it.
        remains: what the model said of a region last; None before.
        curves: by the place of the target.
    """

    run: Run
    remains: Remains | None = None
    curves: dict[int, Curves] = field(default_factory=dict)
    described: tuple[int, dict[str, Any]] = (0, {})

    @property
    def size(self) -> int:
        """Bytes that it holds, about."""
        ways = [one.pictures for one in tuple(self.curves.values())]
        return self.run.size + sum(len(step) for both in ways for way in both for step in way)

    def as_json(self) -> dict[str, Any]:
        """How far it is, and what the page says of its map."""
        standing = self.run.standing
        made = self.run.explanation
        if made is not None and self.described[0] != standing.version:
            self.described = (standing.version, describe(made))
        return {
            "run": self.run.number,
            "state": standing.state,
            "calls": standing.calls,
            "budget": standing.budget,
            "rate": standing.rate,
            "left": standing.left,
            "version": standing.version,
            "message": standing.message,
            "method": self.run.method.name,
            "extends": self.run.can_extend,
            "map": self.described[1] if made is not None else None,
        }


@dataclass(eq=False)
class Session:
    """What one tab holds.

    Attributes:
        photo: the image; None before an upload.
        queries: images to compare it with.
        look: what the model says of it; None before, and after another upload.
        shown: the maps, by pane.
        streams: how many streams of events are open.
        left: when the last one ended, on the clock of `time.monotonic`.
    """

    photo: Photo | None = None
    queries: tuple[Photo, ...] = ()
    look: Look | None = None
    shown: dict[Pane, Shown] = field(default_factory=dict)
    streams: int = 0
    left: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Bytes that it holds, about."""
        photos = sum(one.weight for one in (*self.queries, self.photo) if one is not None)
        return photos + sum(one.size for one in self.shown.values())

    @property
    def away(self) -> float:
        """Seconds since its tab was last there; 0 while it is."""
        return 0.0 if self.streams else time.monotonic() - self.left

    def leave(self) -> None:
        """Count a stream less."""
        self.streams -= 1
        self.left = time.monotonic()

    def stop(self) -> None:
        """End what is computed for it."""
        for one in self.shown.values():
            one.run.stop()

    def as_json(self) -> dict[str, Any]:
        """What its tab shows. The server sends it whenever it changes."""
        return {pane: one.as_json() for pane, one in self.shown.items()}


class Sessions:
    """All sessions, by their names."""

    def __init__(self, limits: Limits) -> None:
        """None yet."""
        self._limits = limits
        self._sessions: dict[str, Session] = {}

    def begin(self) -> str:
        """A new one.

        Returns:
            Its name.

        Raises:
            FullError: too many tabs are open.
        """
        self.sweep()
        if len(self._sessions) >= self._limits.sessions:
            self._forget_one()
        name = secrets.token_urlsafe(24)
        self._sessions[name] = Session()
        return name

    def find(self, name: str) -> Session | None:
        """The session of a name, if there is one."""
        return self._sessions.get(name)

    def make_room(self, size: int) -> None:
        """See that so many bytes more can be held.

        Raises:
            FullError: they cannot.
        """
        while sum(one.size for one in self._sessions.values()) + size > self._limits.size:
            self._forget_one()

    def sweep(self) -> None:
        """End the work of tabs that are closed, and forget those that have been for a while."""
        for name, one in [*self._sessions.items()]:
            if one.away > self._limits.gone:
                one.stop()
            if one.away > self._limits.kept:
                del self._sessions[name]

    def stop(self) -> None:
        """End the work of all."""
        for one in self._sessions.values():
            one.stop()

    def _forget_one(self) -> None:
        """Forget the one whose tab has been gone for longest."""
        name, one = max(self._sessions.items(), key=lambda item: item[1].away, default=("", None))
        if one is None or one.away <= self._limits.gone:
            raise FullError
        one.stop()
        del self._sessions[name]
