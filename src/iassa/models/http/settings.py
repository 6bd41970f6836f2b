"""The settings of a model behind a URL: plain data, checked when they are made."""

from __future__ import annotations

import functools
import re
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from iassa.checks import InputSize, Within, take_fields
from iassa.errors import require, show
from iassa.models.conventions import Conventions, Triple, as_class_names

MODEL_PATH = re.compile(r"(.*/v2)(/models/[^/]+(?:/versions/[^/]+)?)(?:/infer)?/?")
OF_V2 = ("input_name", "output_name", "layout", "range", "mean", "std", "bgr")


@dataclass(frozen=True)
class HttpSettings:
    """How to reach a model, and how to ask it.

    Attributes:
        url: of the model, http or https, with a query if it needs one. Results and errors show it
            without the query, which may hold a key.
        form: json, multipart or v2; if empty, v2 where the path is `.../v2/models/NAME`, else json.
        auth_env: name of the environment variable that holds the whole value of the authorisation
            header, 'Bearer ...'; empty for no header.
        version: name of the model that runs there. The cache and `iassa.extend` treat another name
            as another model.
        images_per_request: the most images in a request; None shares a batch out evenly among
            `in_flight` requests.
        in_flight: the most requests at a time, up to 256.
        rate: the most requests a second, of this process; None for no limit.
        timeout: the most seconds that a request takes, from looking up the server's name to the
            last byte of the answer, up to a day. Sending the images counts, too.
        retries: how often a request is repeated after a failure that may pass: no answer, an answer
            cut short, statuses 408, 429 and 5xx.
        first_wait: the most seconds to wait before the first repetition. The wait doubles each
            time. A Retry-After of the server takes its place and holds back all requests.
        longest_wait: the most seconds of any such wait, up to a day. A server that asks for more
            ends the run.
        response_limit: the most bytes of an answer.
        cache: folder in which scores are kept, see `score_cache.py`; None for no cache.
        input_size: (height, width) of the images that are sent; None for their own, or for the
            size in the metadata of form v2.
        class_names: names of the K outputs, synonyms after commas; see
            `iassa.models.conventions.as_class_names`.
        softmax: whether the scores are logits and need a softmax.
        sigmoid: likewise, where several classes can be true.
        name: of the model in results; if empty, the URL without its query.
        input_name: of form v2, for a model with several inputs; if empty, the only one.
        output_name: likewise.
        layout: of form v2, NCHW or NHWC where the metadata leaves it open.
        range: of form v2: the values that stand for black and white, before mean and std. This
            or mean and std have to be given, unless the model takes 8-bit images.
        mean: of each channel, in units of `range`, subtracted; together with `std`.
        std: of each channel, in units of `range`, divides what is left.
        bgr: of form v2: whether channels are blue, green, red; mean and std are in this order.

    Raises:
        InputError: a value that cannot be used.
    """

    url: str = field(repr=False)
    _: KW_ONLY
    form: Literal["", "json", "multipart", "v2"] = ""
    auth_env: str = ""
    version: str = ""
    images_per_request: Annotated[int | None, Within(1)] = None
    in_flight: Annotated[int, Within(1, 256)] = 4
    rate: Annotated[float | None, Within(0, above=True)] = None
    timeout: Annotated[float, Within(0, 86400, above=True)] = 60.0
    retries: Annotated[int, Within(0, 1000)] = 5
    first_wait: Annotated[float, Within(0)] = 1.0
    longest_wait: Annotated[float, Within(0, 86400, above=True)] = 120.0
    response_limit: Annotated[int, Within(1)] = 16 * 2**20  # as objects of Python, up to 0.6 GB
    cache: str | Path | None = None
    input_size: InputSize = None
    class_names: str | Path | tuple[str, ...] | None = None
    softmax: bool = False
    sigmoid: bool = False
    name: str = ""
    input_name: str = ""
    output_name: str = ""
    layout: Literal["", "NCHW", "NHWC"] = ""
    range: tuple[float, float] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    bgr: bool = False

    def __post_init__(self) -> None:
        """Check each value, and those that depend on each other."""
        object.__setattr__(self, "class_names", as_class_names(self.class_names))
        take_fields(self)
        _check_url(self.url)
        name = show(self.auth_env)
        require(
            re.fullmatch(r"\w*", self.auth_env),
            f"expected auth_env to be the name of an environment variable, got {name}.",
        )
        form = self.chosen_form
        require(
            form != "v2" or self.v2_urls,
            "expected a URL .../v2/models/NAME for form v2, got another path.",
        )
        changed = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        require(
            form == "v2" or not {*OF_V2} & {*changed},
            f"expected {', '.join(OF_V2)} with form v2 only: with {form} the server gets PNGs and "
            "normalises them.",
        )
        _ = self.conventions  # which checks the others

    @property
    def label(self) -> str:
        """The model's name in results and errors."""
        parts = urlsplit(self.url)
        return self.name or urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    @functools.cached_property
    def conventions(self) -> Conventions:
        """How pixels become what form v2 sends, and what is sent back becomes scores."""
        names = ("range", "mean", "std", "bgr", "softmax", "sigmoid")
        return Conventions(**{name: getattr(self, name) for name in names})

    @property
    def chosen_form(self) -> str:
        """json, multipart or v2."""
        return self.form or ("v2" if self.v2_urls else "json")

    @property
    def v2_urls(self) -> tuple[str, ...]:
        """URLs of server, model and scores with form v2; empty if the path is of another kind."""
        parts = urlsplit(self.url)
        match = MODEL_PATH.fullmatch(parts.path)
        paths = [match[1], match[1] + match[2], f"{match[1]}{match[2]}/infer"] if match else []
        return tuple(parts._replace(path=path).geturl() for path in paths)


def _check_url(url: str) -> None:
    """Refuse what is no plain URL. The errors do not quote it: a password may be in it."""
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_plain = False
    require(
        is_plain and not re.search(r"[\s\x00-\x20\x7f\ud800-\udfff]", url),
        "expected a URL as https://HOST/PATH, got one that cannot be read.",
    )
    require(
        "@" not in parts.netloc,
        "expected a URL without user and password, got one with them. Put the authorisation header "
        "into an environment variable and name that: auth_env, --auth-env.",
    )
    require(
        not parts.fragment,
        "expected a URL without #, got one with it. Pass the settings as keywords, or the whole to "
        "iassa.open_model.",
    )
