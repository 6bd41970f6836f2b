"""The addresses of the page: what of a request is read, and what of the desk answers it.

This file and `serving` alone know HTTP, and import Starlette and uvicorn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any, cast, get_args

from iassa.app.desk import Desk, LookWish, MoreWish, RegionWish, StartWish, TargetWish
from iassa.app.sessions import FullError, Pane, Session
from iassa.app.turns import BusyError
from iassa.archives import read_json
from iassa.checks import take_json
from iassa.errors import BlackBoxError, InputError, plain, show
from iassa.explanations.drawing import View
from iassa.gallery.pages import script_digest

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import ASGIApp
except ModuleNotFoundError as error:
    raise InputError(
        f"`iassa app` needs the package {error.name}: pip install '.[app]' in the clone."
    ) from None

MOST_UPLOAD = 32 * 2**20  # bytes of an image file
MOST_JSON = 64 * 2**10
SLOWEST = 60.0  # seconds for the body of a request
OFTEN = 0.1  # seconds after which a session is looked at again, for its tab
PING = 10.0  # seconds of silence, after which a comment keeps the stream open
SWEEP = 1.0

# What a page of a gallery says of itself, and the place that it has here.
GALLERY_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; script-src {script}"
)
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "app.css": ("app.css", "text/css; charset=utf-8"),
    **{
        f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("main", "form", "pane", "curves", "server")
    },
}


def refusal(status: int, text: str) -> Response:
    """An answer that says why there is no other."""
    return JSONResponse({"error": plain(text)}, status)


class Routes:
    """The addresses, and what of a request each of them reads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._files = {name: (_resource(file), kind) for name, (file, kind) in FILES.items()}
        style = resources.files("iassa.gallery").joinpath("style.css").read_bytes()
        self._files["style.css"] = (style, "text/css; charset=utf-8")
        self._gallery_policy = GALLERY_POLICY.format(script=f"'sha256-{script_digest()}'")
        self._closing = False
        self.app = self._build()

    def close(self) -> None:
        """End all streams."""
        self._closing = True

    def _build(self) -> ASGIApp:
        desk, wish, view = self._desk, self._wish, self._view
        session = "/sessions/{session}"
        pane = session + "/{pane}"
        routes = [
            Route("/settings", self._settings),
            Route("/sessions", self._begin, methods=["POST"]),
            Route(session + "/events", self._events),
            Route(session + "/image", self._upload, methods=["POST"]),
            Route(session + "/photo.jpg", view("image/jpeg", desk.photo)),
            Route(session + "/classes", self._classes),
            Route(session + "/alike", self._alike),
            Route(session + "/look", wish(LookWish, desk.look), methods=["POST"]),
            Route(session + "/start", wish(StartWish, desk.start), methods=["POST"]),
            Route(session + "/add", wish(MoreWish, desk.add), methods=["POST"]),
            Route(session + "/region", wish(RegionWish, desk.measure), methods=["POST"]),
            Route(session + "/curves", wish(TargetWish, desk.curves), methods=["POST"]),
            Route(session + "/{verb}", self._plain, methods=["POST"]),
            Route(pane + "/{view}.png", self._picture),
            Route(pane + "/value", self._value),
            Route(pane + "/remains-{number:int}.jpg", view("image/jpeg", desk.remains)),
            Route(
                pane + "/{target:int}/step-{way:int}-{number:int}.jpg",
                view("image/jpeg", desk.step),
            ),
            Route(pane + "/explanation.zip", view("application/zip", desk.download)),
            Route("/galleries/{number:int}/{name:path}", self._gallery),
            Route("/runs/{number:int}", self._report),
            Route("/favicon.ico", lambda _: Response(status_code=204)),
            Route("/{name}", self._file),
            Route("/", self._file),
        ]
        handlers: Mapping[Any, Any] = {
            InputError: lambda _, error: refusal(400, str(error)),
            BlackBoxError: lambda _, error: refusal(422, str(error)),
            FullError: lambda *_: refusal(503, "Too many pages are open. Try again later."),
            BusyError: lambda *_: refusal(503, "Too many questions wait. Try again in a moment."),
            ClientDisconnect: lambda *_: refusal(400, "The request ended early."),
            HTTPException: lambda _, error: refusal(error.status_code, error.detail),
            Exception: lambda *_: refusal(500, "The server failed; its terminal says how."),
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._live)

    @asynccontextmanager
    async def _live(self, _: Starlette) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(SWEEP)
                self._desk.sessions.sweep()

        task = asyncio.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()

    # --- what a request is about --------------------------------------------------------------

    def _session(self, request: Request) -> Session:
        session = self._desk.sessions.find(request.path_params["session"])
        if session is None:
            raise HTTPException(404, "This page was closed for too long. Load it again.")
        return session

    def _wish(
        self, kind: type[Any], act: Callable[[Session, Any], Any]
    ) -> Callable[[Request], Awaitable[Response]]:
        """What acts on a session, told by JSON."""

        async def answer(request: Request) -> Response:
            session = self._session(request)
            content = await _read(request, MOST_JSON)
            wish = take_json(read_json(content, "the request"), kind, "")
            return await _answer(await run_in_threadpool(act, session, wish))

        return answer

    def _view(
        self, media: str, make: Callable[..., bytes]
    ) -> Callable[[Request], Awaitable[Response]]:
        """What shows a part of a session, by the parts of its address."""

        async def answer(request: Request) -> Response:
            session = self._session(request)
            parts = {k: v for k, v in request.path_params.items() if k != "session"}
            return Response(await run_in_threadpool(make, session, **parts), media_type=media)

        return answer

    # --- answers ------------------------------------------------------------------------------

    async def _settings(self, _: Request) -> Response:
        return JSONResponse(self._desk.settings())

    async def _begin(self, request: Request) -> Response:
        await _read(request, 0)
        return JSONResponse({"session": self._desk.sessions.begin()})

    async def _plain(self, request: Request) -> Response:
        verbs = {"stop": self._desk.stop, "drop": self._desk.drop_queries}
        session, verb = self._session(request), request.path_params["verb"]
        if verb not in verbs:
            raise HTTPException(404, "There is no such thing here.")
        await _read(request, 0)
        return await _answer(verbs[verb](session))

    async def _upload(self, request: Request) -> Response:
        session, query = self._session(request), request.query_params
        if example := query.get("example"):
            await _read(request, 0)
            return await _answer(self._desk.example(session, example))
        content = await _read(request, MOST_UPLOAD)
        name, compare = query.get("name", ""), query.get("compare") == "1"
        return await _answer(self._desk.upload(session, name, content, compare=compare))

    async def _classes(self, request: Request) -> Response:
        found = self._desk.find(self._session(request), request.query_params.get("find", "")[:200])
        return JSONResponse(found)

    async def _alike(self, request: Request) -> Response:
        session, target = self._session(request), _number(request.query_params.get("target", ""))
        return JSONResponse(await run_in_threadpool(self._desk.alike, session, target))

    async def _picture(self, request: Request) -> Response:
        """A view as `map.png`, and its colours as `map-bar.png`."""
        session, parts, query = self._session(request), request.path_params, request.query_params
        target, share = _number(query.get("target", "0")), query.get("share")
        view, _, bar = parts["view"].partition("-")
        if view not in get_args(View) or bar not in ("", "bar"):
            raise HTTPException(404, "There is no such picture.")
        of_image = None if share is None else _share(share)
        make = (
            partial(self._desk.bar, session, parts["pane"], target, view)
            if bar
            else partial(self._desk.view, session, parts["pane"], view, target, of_image)
        )
        return Response(await run_in_threadpool(make), media_type="image/png")

    async def _value(self, request: Request) -> Response:
        place = (_number(request.query_params.get(k, "")) for k in ("target", "row", "column"))
        pane = cast("Pane", request.path_params["pane"])
        return JSONResponse(self._desk.value(self._session(request), pane, *place))

    async def _gallery(self, request: Request) -> Response:
        read = self._desk.shelf.read
        content, media = await run_in_threadpool(read, **request.path_params)
        headers = {"Content-Security-Policy": self._gallery_policy}
        return Response(content, media_type=media, headers=headers)

    async def _report(self, request: Request) -> Response:
        page = await run_in_threadpool(self._desk.shelf.report, request.path_params["number"])
        return Response(
            page,
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": REPORT_POLICY},
        )

    async def _file(self, request: Request) -> Response:
        name = request.path_params.get("name", "")
        if name not in self._files:
            raise HTTPException(404, "There is no such page.")
        content, media = self._files[name]
        return Response(content, media_type=media)

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(self._tell(self._session(request)), media_type="text/event-stream")

    async def _tell(self, session: Session) -> AsyncIterator[str]:
        """What changes in a session, until its tab is closed."""
        session.streams += 1
        told, silent = "", 0.0
        try:
            while not self._closing:
                state = json.dumps(session.as_json(), allow_nan=False)
                silent = 0.0 if state != told else silent + OFTEN
                if state != told:
                    told = state
                    yield f"data: {state}\n\n"
                elif silent >= PING:
                    silent = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(OFTEN)
        finally:
            session.leave()


async def _answer(made: Any) -> Response:
    """What a desk gave, once it is there, as JSON."""
    return JSONResponse(await asyncio.wrap_future(made) if isinstance(made, Future) else made)


async def _read(request: Request, most: int) -> bytes:
    """The body of a request; refused as soon as it is too large, or slow.

    Raises:
        HTTPException: it is.
    """
    too_large = HTTPException(413, f"expected at most {_size(most)}, got more. Send less.")
    if int(request.headers.get("content-length", "0") or 0) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SLOWEST):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, "The request took too long. Send it again.") from None
    return b"".join(parts)


def _size(count: int) -> str:
    return f"{count} bytes" if count < 2**20 else f"{count // 2**20} MB"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InputError(f"expected a whole number, got {show(text)}.")
    return int(text)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"expected a share of the image, got {show(text)}.") from None


def _resource(name: str) -> bytes:
    return resources.files("iassa.app").joinpath("page", name).read_bytes()
