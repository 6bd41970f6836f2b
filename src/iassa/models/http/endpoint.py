"""A model behind a URL: images are sent in requests, scores come back.

The path of a batch: `HttpModel.score` makes images of its planes, `scoring.py` looks them up in the
cache and shares out the rest among requests, `connection.py` sends each request and repeats it.

Request forms: `request_forms.py` describes `json` and `multipart`, which send PNGs;
`open_inference.py` has `v2`, that of KServe, Triton and other model servers. Every image of a batch
is answered exactly once, in its place, whatever failed on the way, or the batch fails with a
`BlackBoxError`. Each process reads the authorisation header from its environment, and the header
appears nowhere else.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from typing import Any, Self, cast
from urllib.parse import urlsplit

import torch
from torch import Tensor

from iassa.models.activation import ActivatedModel
from iassa.models.http.open_inference import read_form
from iassa.models.http.request_forms import PngForm, RequestForm
from iassa.models.http.score_cache import digest
from iassa.models.http.scoring import ScoringClient
from iassa.models.http.settings import HttpSettings
from iassa.query import parse_fields

log = logging.getLogger(__name__)


class HttpModel(ActivatedModel):
    """A model behind a URL, planes (N, 3, H, W) in [0, 1] -> scores (N, K) float64.

    It can be sent to other processes; each opens its own connections. `close`, or the end of a
    `with` statement, closes them; the next call opens them again.

    Attributes:
        settings: how it is asked.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        """Check the settings, open the cache, and with form v2 ask the server for its metadata.

        Args:
            url: of the model.
            settings: the other fields of `HttpSettings`.

        Raises:
            InputError: a setting that cannot be used, a variable that is not set, a cache that
                cannot be written, httpx that is not installed, or a model that takes no images.
            BlackBoxError: the server does not answer with metadata.
        """
        self.settings = HttpSettings(url, **settings)
        self.name = self.settings.label
        self._conventions = self.settings.conventions
        self.class_names = cast("tuple[str, ...] | None", self.settings.class_names)
        self._client: ScoringClient | None = None
        _warn_of_plain_http(self.settings)
        try:
            self._form = self._choose_form()
        except BaseException:
            self.close()
            raise
        self.input_size = self._form.size

    def _choose_form(self) -> RequestForm:
        settings, connection = self.settings, self._open().connection
        if settings.chosen_form == "v2":
            return read_form(settings, connection)
        multipart = settings.chosen_form == "multipart"
        return PngForm(url=settings.url, size=settings.input_size, multipart=multipart)

    def identity(self) -> str:
        """Name, digest of the query, version, and all that changes what is sent or read."""
        settings, form = self.settings, self.settings.chosen_form
        parts, own = urlsplit(settings.url), settings.conventions
        read: tuple[object, ...] = (settings.softmax, settings.input_name, settings.output_name)
        # Only where they are given: scores in the caches of earlier versions are paid for.
        added = {"sigmoid": own.sigmoid, "bgr": own.bgr, "black": own.low}
        read += tuple(item for item in added.items() if item[1])
        mean, std = own.mean or (0.0,) * 3, own.std or (1.0,) * 3
        sent = (form, settings.layout, float(own.high), mean, std)
        what = digest(parts.query, parts._replace(query="").geturl(), *sent, *read).hex()
        return " ".join(filter(None, (self.name, form, settings.version, what)))

    def outputs(self, planes: Tensor) -> Tensor:
        """What the server answers, (N, K) float64; see `ActivatedModel.outputs`."""
        return torch.from_numpy(self._open().score(self._form.images(planes), self._form))

    def close(self) -> None:
        """Close connections, threads and cache, and log what was asked; it opens again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Without connections: another process has its own."""
        return {**self.__dict__, "_client": None}

    def _open(self) -> ScoringClient:
        if self._client is None:
            self._client = ScoringClient(self.settings, self.identity())
            weakref.finalize(self, self._client.close, wait=False)
        return self._client


# Notebooks and `help` show the settings by name.
HttpModel.__signature__ = inspect.signature(HttpSettings)  # type: ignore[attr-defined]


def _warn_of_plain_http(settings: HttpSettings) -> None:
    parts = urlsplit(settings.url)
    host = parts.hostname or ""
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    if settings.auth_env and parts.scheme == "http" and not is_here:
        log.warning("%s: the authorisation header is sent unencrypted; use https", settings.label)


def is_url(model: str) -> bool:
    """Whether a model's name is the URL of one."""
    return model.lower().startswith(("http://", "https://"))


def open_endpoint(model: str) -> HttpModel:
    """A model by its URL, which may bring settings along.

    A client never sends the part of a URL behind its `#`. So that part may hold settings, as in
    `https://HOST/PATH#form=multipart&rate=5`: the fields of `HttpSettings`, written as
    `iassa.query` describes. They go wherever the name of a model goes, into a worker process too.

    Args:
        model: the URL.

    Raises:
        InputError: an unknown setting, one that is given twice, or see `HttpModel`.
        BlackBoxError: see `HttpModel`.
    """
    url, _, settings = model.partition("#")
    return HttpModel(url, **parse_fields(HttpSettings, settings))
