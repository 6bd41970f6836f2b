"""The server: which requests come to the routes at all, and the socket that they come from."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

from iassa.app.access import Access
from iassa.app.desk import Desk
from iassa.app.web import Routes, refusal
from iassa.errors import InputError

try:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import RedirectResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ModuleNotFoundError as error:
    raise InputError(
        f"`iassa app` needs the package {error.name}: pip install '.[app]' in the clone."
    ) from None

MOST_CONNECTIONS = 200
LAST = 2  # seconds for answers in flight, when the server ends

# Nothing from elsewhere, no code in the page, no page around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests before anything is read of their bodies, and adds headers to all answers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = {"Content-Security-Policy": POLICY, **HEADERS}.items()
                pairs = [(name.lower().encode(), value.encode()) for name, value in added]
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in pairs if pair[0] not in there),
                ]
            await send(message)

        answer = self._refuse(Request(scope))
        await (answer or self._app)(scope, receive, send_guarded)

    def _refuse(self, request: Request) -> Response | None:
        """The answer to a request that is refused, or that brings the token; None for others."""
        access, hosts = self._access, request.headers.getlist("host")
        if len(hosts) != 1 or not access.knows_host(hosts[0]):
            return refusal(
                421, "This page is not at that name. Start it with --name NAME to have it there."
            )
        changes = request.method not in ("GET", "HEAD")
        origins = request.headers.getlist("origin")
        known = len(origins) == 1 and access.knows_origin(origins[0], hosts[0])
        if (changes and not known) or (origins and not known):
            return refusal(403, "This is for the page itself, not for others.")
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
            changes or request.url.path != "/"
        ):
            return refusal(403, "This is for the page itself, not for others.")
        if access.admits(request.cookies):
            return None
        if request.method == "GET" and access.accepts(request.query_params.get("token", "")):
            entered = RedirectResponse("./", 303)
            entered.set_cookie(access.cookie, access.secret, httponly=True, samesite="strict")
            return entered
        return refusal(401, "This page needs its token. Open the address that `iassa app` printed.")


class Site:
    """The page on a socket, until Ctrl-C or `end`."""

    def __init__(
        self, desk: Desk, access: Access, listening: socket.socket, ready: Callable[[], None]
    ) -> None:
        """Nothing is answered yet.

        Args:
            desk: what is served.
            access: who may ask.
            listening: a socket that listens, see `access.listen`.
            ready: called once the first request can come.
        """
        self._desk, self._listening = desk, listening
        self._routes = Routes(desk)
        config = uvicorn.Config(
            Guard(self._routes.app, access),
            log_level="warning",
            access_log=False,  # it would have the token
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=LAST,
        )
        self._server = _Server(config, self._routes.close, ready)

    def run(self) -> None:
        """Answer requests, until Ctrl-C, SIGTERM or `end`."""
        try:
            self._server.run(sockets=[self._listening])
        finally:
            self._desk.close()

    def end(self) -> None:
        """End it, from another thread."""
        self._routes.close()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """A server that calls `ready` once it answers, and ends its streams before it ends."""

    def __init__(
        self, config: uvicorn.Config, close: Callable[[], None], ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._close, self._ready = close, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        self._close()
        super().handle_exit(sig, frame)
