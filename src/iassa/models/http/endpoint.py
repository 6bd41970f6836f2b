"""A model behind a URL: images are sent in requests, scores come back.

Request forms: `json` and `multipart` send PNGs and are described in `request_forms.py`, `v2` is
that of KServe, Triton and other model servers, see `open_inference.py`. What the adapter promises:
every image of a batch is answered exactly once, in its place, whatever failed on the way, or the
batch fails with a `BlackBoxError`; the authorisation header is read from the environment, process
by process, and appears nowhere else.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import torch
from torch import Tensor

from iassa.errors import BlackBoxError, InputError
from iassa.models.black_box import BlackBox
from iassa.models.http.connection import Connection
from iassa.models.http.line import Line
from iassa.models.http.open_inference import BINARY, OpenInferenceForm, read_metadata, routes
from iassa.models.http.request_forms import JsonForm, MultipartForm
from iassa.models.http.score_cache import ScoreCache, digest
from iassa.query import parse_fields

__all__ = ["FORMS", "HttpModel", "is_url", "open_endpoint"]

FORMS = ("json", "multipart", "v2")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HttpModel(BlackBox):
    """A model behind a URL. It can be sent to other processes; each opens its own connections.

    Attributes:
        url: of the model, http or https, with a query if it needs one. Results and errors show it
            without the query, which may hold a key.
        form: json, multipart or v2; if empty, v2 where the path is `.../v2/models/NAME`, else json.
        auth_env: name of the environment variable that holds the whole value of the authorisation
            header, 'Bearer ...'; empty for no header.
        version: name of what runs there. Another name is another model: for the cache, and for
            what can be continued.
        images_per_request: the most images in a request; None shares a batch out evenly among
            `in_flight` requests.
        in_flight: the most requests at a time.
        rate: the most requests a second, of this process; None for any.
        timeout: seconds to wait for a connection, for the next part of an answer and for the whole
            of its content.
        retries: how often a request is repeated after failures that may pass: no answer, an answer
            cut short, statuses 408, 429 and 5xx.
        first_wait: seconds to wait before the first repetition, at most; then twice as long each
            time. Where a server says Retry-After, that is what it gets from all requests.
        longest_wait: seconds, of any such wait; a server that asks for more ends the run.
        response_limit: bytes of an answer, at most.
        cache: folder in which scores are kept, see `score_cache.py`; None for nowhere.
        input_size: (height, width) of the images that are sent; None for their own, or for that
            which the metadata of form v2 says.
        class_names: names of the K outputs, synonyms after commas.
        softmax: whether the scores are logits, to be made probabilities.
        name: what to call it in results; the URL without its query if empty.
        input_name: of form v2, where a model has several inputs; they are looked up if empty.
        output_name: likewise.
        layout: of form v2, NCHW or NHWC where the metadata leaves it open.
        scale: of form v2: x in [0, 1] is sent as (scale x - mean) / std.
        mean: of each channel.
        std: of each channel.
    """

    url: str = field(repr=False)
    _: KW_ONLY
    form: str = ""
    auth_env: str = ""
    version: str = ""
    images_per_request: int | None = None
    in_flight: int = 4
    rate: float | None = None
    timeout: float = 60.0
    retries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0
    response_limit: int = 64 * 2**20
    cache: str | Path | None = None
    input_size: tuple[int, int] | None = None
    class_names: Sequence[str] | None = None
    softmax: bool = False
    name: str = ""
    input_name: str = ""
    output_name: str = ""
    layout: str = ""
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Check the settings, and with form v2 ask the server what it takes.

        Raises:
            InputError: a setting that cannot be, a variable that is not set, a cache that cannot be
                written, httpx that is not installed, or a model that takes no images.
            BlackBoxError: the server does not say what it takes.
        """
        parts = _check_url(self.url)
        there = routes(parts.path)
        form = self.form or ("json" if there is None else "v2")
        _check(self, form, there is not None)
        if self.class_names is not None:
            self._set(class_names=tuple(self.class_names))
        shown = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        self._set(form=form, name=self.name or shown)
        if self.auth_env and parts.scheme == "http" and not _is_here(parts.hostname or ""):
            log.warning("%s: the authorisation header is sent unencrypted; use https", self.name)
        line = self._open()
        if there is None or form != "v2":
            self._set(_target=self.url, _form=JsonForm() if form == "json" else MultipartForm())
            return
        asked = {k: parts._replace(path=v).geturl() for k, v in vars(there).items()}
        try:
            found = self._read_form(asked, line.connection)
        except BaseException:
            self.close()
            raise
        self._set(_target=asked["infer"], _form=found, input_size=found.size)

    def _set(self, **values: object) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def identity(self) -> str:
        """Name, digest of the query, version, and all that changes what is sent or read."""
        query = urlsplit(self.url).query
        read = (self.softmax, self.input_name, self.output_name)
        sent = (self.form, self.layout, self.scale, self.mean, self.std)
        shown = urlsplit(self.url)._replace(query="").geturl()
        what = digest(query, shown, *sent, *read).hex()
        return " ".join(filter(None, (self.name, self.form, self.version, what)))

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        target, form = self.__dict__["_target"], self.__dict__["_form"]
        scores = torch.from_numpy(self._open().ask(form.images(planes), form, target))
        return scores.softmax(1) if self.softmax else scores

    def close(self) -> None:
        """Let go of connections, threads and cache, and log what was asked; it opens again."""
        line = self.__dict__.pop("_line", None)
        if line is not None:
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Without connections: another process has its own."""
        return {key: value for key, value in self.__dict__.items() if key != "_line"}

    def _open(self) -> Line:
        if "_line" not in self.__dict__:
            line = self._connect()
            self._set(_line=line)
            weakref.finalize(self, line.close, wait=False)
        found: Line = self.__dict__["_line"]
        return found

    def _connect(self) -> Line:
        connection = Connection(
            self.url,
            self.name,
            auth_env=self.auth_env,
            timeout=self.timeout,
            retries=self.retries,
            first_wait=self.first_wait,
            longest_wait=self.longest_wait,
            rate=self.rate,
            in_flight=self.in_flight,
            response_limit=self.response_limit,
        )
        try:
            cache = None if self.cache is None else ScoreCache(Path(self.cache), self.identity())
        except BaseException:
            connection.close()
            raise
        return Line(
            self.name,
            connection,
            cache,
            images_per_request=self.images_per_request,
            in_flight=self.in_flight,
        )

    def _read_form(self, asked: Mapping[str, str], connection: Connection) -> OpenInferenceForm:
        """What the metadata say of a model of form v2; `asked` are its `Routes`, as URLs."""
        never = threading.Event()
        metadata = connection.ask("GET", asked["model"], lambda answer: answer, never)
        try:
            server = connection.ask("GET", asked["server"], lambda answer: answer, never)
        except BlackBoxError as error:  # a gateway may let models through alone
            log.info(
                "numbers are sent as text, as the server's extensions are not known: %s", error
            )
            server = None
        extensions = server.get("extensions") if isinstance(server, dict) else None
        return read_metadata(
            metadata,
            binary=isinstance(extensions, list) and BINARY in extensions,
            layout=self.layout,
            size=self.input_size,
            input_name=self.input_name,
            output_name=self.output_name,
            scale=self.scale,
            mean=self.mean,
            std=self.std,
        )


def is_url(model: str) -> bool:
    """Whether a model's name is the URL of one."""
    return model.lower().startswith(("http://", "https://"))


def open_endpoint(model: str) -> HttpModel:
    """A model by its URL, which may bring settings along.

    A client never sends the part of a URL behind its `#`. So that part may hold settings, as in
    `https://HOST/PATH#form=multipart&rate=5`: the fields of `HttpModel` but `class_names`, written
    as `iassa.query` describes. They go wherever the name of a model goes, into a worker process
    too.

    Args:
        model: the URL.

    Raises:
        InputError: an unknown setting, one that is given twice, or see `HttpModel`.
        BlackBoxError: see `HttpModel`.
    """
    url, _, settings = model.partition("#")
    return HttpModel(url, **parse_fields(HttpModel, settings))


def _check_url(url: str) -> Any:
    """Its parts. The URL is not told in errors: a password may be in it."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        plain = False
    if not plain or re.search(r"[\s\x00-\x20\x7f]", url):
        raise InputError("expected a URL as https://HOST/PATH, got one that cannot be read.")
    if "@" in parts.netloc:
        raise InputError(
            "expected a URL without user and password, got one with them. Put the authorisation "
            "header into an environment variable and name that: auth_env, --auth-env."
        )
    if parts.fragment:
        raise InputError(
            "expected a URL without #, got one with it. Pass the settings as fields, or the whole "
            "to iassa.open_model."
        )
    return parts


def _check(of: HttpModel, form: str, has_routes: bool) -> None:
    def require(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise InputError(f"expected {name} to be {expected}, got {getattr(of, name)!r}.")

    def positive(value: float) -> bool:
        return 0 < value < math.inf

    require(form in FORMS, "form", ", ".join(FORMS))
    if form == "v2" and not has_routes:
        raise InputError("expected a URL .../v2/models/NAME for form v2, got another path.")
    of_v2 = (of.input_name, of.output_name, of.layout, of.scale, of.mean, of.std)
    if form != "v2" and of_v2 != ("", "", "", 1, (0, 0, 0), (1, 1, 1)):
        raise InputError(
            "expected input_name, output_name, layout, scale, mean and std with form v2 only: "
            f"with {form} the server gets PNGs and normalises them."
        )
    require(re.fullmatch(r"\w*", of.auth_env) is not None, "auth_env", "the name of a variable")
    for name in ("images_per_request", "in_flight", "response_limit"):
        value = getattr(of, name)
        require(value is None or (isinstance(value, int) and value >= 1), name, "1 or more")
    for name in ("rate", "timeout", "longest_wait", "scale"):
        value = getattr(of, name)
        require(value is None or positive(value), name, "above 0")
    require(of.in_flight <= 256, "in_flight", "at most 256")
    require(0 <= of.retries <= 1000, "retries", "0 to 1000")
    require(0 <= of.first_wait < math.inf, "first_wait", "0 or more")
    require(of.layout in ("", "NCHW", "NHWC"), "layout", "NCHW or NHWC")
    require(len(of.mean) == 3 and all(map(math.isfinite, of.mean)), "mean", "3 numbers")
    require(len(of.std) == 3 and all(map(positive, of.std)), "std", "3 numbers above 0")
    size = of.input_size
    require(size is None or (len(size) == 2 and min(size) >= 1), "input_size", "(height, width)")


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
