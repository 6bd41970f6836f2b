"""Arguments at the ends of their ranges and beyond: a result, or one line that says what is wrong.

Memory is limited while they run: a value that allocates by its size fails here.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import typing
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import iassa
from iassa.benchmark import Protocol, parse_contestant
from iassa.checks import Within, take
from iassa.cli import main
from iassa.errors import IassaError, InputError
from iassa.masks.windows import sliding_windows
from iassa.methods import METHODS, open_method
from iassa.models import ColourPosition, FunctionModel
from iassa.models.conventions import Conventions
from iassa.models.features import extract

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")

PHOTO = np.random.default_rng(3).random((64, 96, 3), np.float32)
NINES = "9" * 400
BEYOND: tuple[Any, ...] = (10**400, -(10**400), 10**5000, 1e308, 1e-320, math.nan, math.inf, -1)
ROOM = 1 << 30


@pytest.fixture(autouse=True, scope="module")
def limited_memory() -> Iterator[None]:
    """At most a gigabyte more than before, where the system can limit it."""
    resource = pytest.importorskip("resource")
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("only Linux tells")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap  # noqa: F401 - what is imported does not count
    import skimage.filters
    import skimage.segmentation  # noqa: F401

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def bright(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([images[:, :30, :40].mean((1, 2, 3)), images.mean((1, 2, 3))], 1)


def explain(method: Any = "rise", **options: Any) -> iassa.Explanation:
    given = {"calls": 40} | options
    return iassa.explain(PHOTO, FunctionModel(bright, name="bright"), method=method, **given)


def numbers_of(kind: type[Any]) -> dict[str, tuple[Any, Within | None]]:
    """The fields that are numbers or tuples of them, with the range of each."""
    found = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if name not in {field.name for field in fields(kind)} or name == "baseline":
            continue
        plain, *rules = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        if any(one in (int, float) for one in (plain, *typing.get_args(plain))):
            found[name] = (plain, rules[0] if rules else None)
    return found


CASES = [(name, field) for name, kind in METHODS.items() for field in numbers_of(kind)]
SLOW = ("positions", "step_calls")
ENDS = [
    pytest.param(*case, marks=[pytest.mark.thorough] if case[1] in SLOW else []) for case in CASES
]
DERIVED = {"fine_segment_counts"}  # some of segment_counts


def made_of(number: Any, plain: Any) -> Any:
    several = tuple in {typing.get_origin(one) for one in (plain, *typing.get_args(plain))}
    return (number, number) if several else number


@pytest.mark.parametrize("kind", [*METHODS.values(), ColourPosition, Protocol])
def test_every_number_has_a_range_with_two_ends(kind: type[Any]) -> None:
    for name, (_, rule) in numbers_of(kind).items():
        if name in DERIVED or name == "size":
            continue
        assert rule is not None, f"{name} has no range"
        assert math.isfinite(rule.low), name
        assert math.isfinite(rule.high), name


@pytest.mark.parametrize(("method", "field"), ENDS)
def test_a_field_at_an_end_of_its_range_gives_a_map_or_says_what_is_wrong(
    method: str, field: str
) -> None:
    plain, rule = numbers_of(METHODS[method])[field]
    features = {"features": "colour-position"} if method.startswith("iassa") else {}
    if rule is None:
        rule = Within(0, 10_000)
    calls = 40 if "shap" not in method else 60
    for end in (rule.low, rule.high):
        nearest = math.nextafter(end, rule.high if end == rule.low else rule.low)
        for value in (end, nearest):
            with contextlib.suppress(InputError):
                chosen = open_method(method, **features, **{field: made_of(value, plain)})
                assert np.isfinite(explain(chosen, calls=calls).saliency).all()


@pytest.mark.parametrize(("method", "field"), CASES)
def test_a_field_beyond_its_range_is_refused_with_the_range(method: str, field: str) -> None:
    plain, rule = numbers_of(METHODS[method])[field]
    for value in BEYOND:
        if rule is not None and rule.holds(value):
            continue
        with pytest.raises(InputError, match=f"expected {field} of {method}") as caught:
            open_method(method, **{field: made_of(value, plain)})
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["calls", "seed", "batch_size", "keep_scores"])
def test_numbers_of_a_run_have_two_ends(name: str) -> None:
    for value in (10**10, 2**64, 10**400, 10**5000, -1, math.nan, math.inf, 1e308):
        if name == "seed" and value == 10**10:
            continue
        with pytest.raises(InputError, match="expected"):
            explain(**{name: value})
    for name_, value in {"batch_size": 65_536, "keep_scores": 10**9, "seed": 2**64 - 1}.items():
        if name_ == name:
            assert explain(**{name: value}).calls == 40


@pytest.mark.parametrize("name", ["max_seconds", "tolerance"])
def test_limits_of_a_run_are_finite(name: str) -> None:
    for value in (math.nan, math.inf, -math.inf, 0, -1, 10**400, 10**5000):
        with pytest.raises(InputError, match=r"expected a t.* above 0 .*got"):
            explain(**{name: value})


def test_windows_are_counted_before_they_are_made() -> None:
    for size, window, stride in (((224, 224), 10**6, 1.0), ((10**5, 10**5), 45, 8.0)):
        with pytest.raises(InputError, match="expected at most 1000000 windows, got about"):
            sliding_windows(size, window, stride)


def test_a_round_is_small_enough_to_be_drawn() -> None:
    for fields_ in (
        {"grid_size": 224, "round_calls": 100_000},
        {"round_calls": 10**5 - 1} | {"grid_size": 100},
    ):
        with pytest.raises(InputError, match=r"round_calls of rise .* at most .* so many cells"):
            iassa.methods.Rise(**fields_)
    with pytest.raises(InputError, match="round_calls of iassa to be at most"):
        iassa.methods.Iassa(level_cells=112, round_calls=50_000)
    with pytest.raises(InputError, match="32 segmentations"):
        iassa.methods.Iassa(compactness=tuple(range(1, 20)))
    assert iassa.methods.Rise(round_calls=100_000).round_calls == 100_000


def test_coalitions_are_counted_before_they_are_made() -> None:
    with pytest.raises(InputError, match=r"at most \d+ calls for kernel-shap with \d+ superpixels"):
        explain("kernel-shap", calls=10**9)
    few = iassa.methods.KernelShap(num_segments=2, max_segments=1)
    assert explain(few, calls=10**9).stopped == "rounds"  # all there are


def test_a_long_range_is_not_unrolled() -> None:
    for length in (10**7, 10**12, 10**400):
        with pytest.raises(InputError, match="expected seeds to be a tuple"):
            take(range(length), tuple[int, ...], "seeds")
    assert len(take(range(1000), tuple[int, ...], "seeds")) == 1000


def test_sizes_and_protocols_have_two_ends() -> None:
    for side in (10**6, 10**400, 0, -1):
        with pytest.raises(InputError, match="from 1 to 4096"):
            FunctionModel(bright, input_size=(side, 224))
        with pytest.raises(InputError, match="from 1 to 4096"):
            Conventions(input_size=(224, side))
        with pytest.raises(InputError, match="from 1 to 4096"):
            Protocol(size=(side, side))
    for calls in ("9" * 13, "9" * 5000):
        with pytest.raises(InputError, match="expected"):
            parse_contestant(f"a=rise@{calls}", [100])
    with pytest.raises(InputError, match="budgets of a to be a tuple of whole numbers"):
        parse_contestant(f"a=rise@{10**10}", [100])


# --- the command line ---------------------------------------------------------------------------

OPTIONS = {
    **dict.fromkeys(("calls", "seconds", "tolerance", "seed", "batch-size", "keep"), "a number"),
    **dict.fromkeys(("white", "range", "mean", "std", "input-size"), "a number"),
    **dict.fromkeys(
        ("target", "baseline", "out", "device", "measure", "similar-to", "box"), "text"
    ),
    **dict.fromkeys(("method", "set", "model", "class-names", "auth-env", "pictures"), "text"),
    "model-option": "text",
}
WORDS = (NINES, f"-{NINES}", "9" * 5000, "nan", "inf", "-1", "1e400", "\udc80", "", "a=\udc80")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.fromarray(np.round(PHOTO * 255).astype(np.uint8)).save(tmp_path / "photo.png")
    (tmp_path / "box.py").write_text(
        "def bright(images):\n    return images[:, :30, :40].mean((1, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def lines_of(words: list[str]) -> tuple[int, list[str]]:
    """Exit status and lines of error of a command, with streams as those of a process."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2)]
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        pytest.raises(SystemExit) as caught,
    ):
        main(words)
    streams[1].seek(0)
    errors = [one for one in streams[1].read().splitlines() if one.startswith("error: ")]
    return int(caught.value.code or 0), errors


RUN = ["explain", "photo.png", "--model", "box:bright", "--pictures", "none", "--overwrite"]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_any_text_is_taken_or_refused_in_one_line(option: str, folder: Path) -> None:
    for word in WORDS:
        status, errors = lines_of([*RUN, "--calls", "20", "--method", "rise", f"--{option}={word}"])
        assert (status, len(errors)) in ((0, 0), (2, 1)), (word[:20], errors)
        if status and OPTIONS[option] == "a number":
            assert len(errors[0]) < 6000


@pytest.mark.parametrize("name", [NINES, "\udc80.png", "\udc80", "9" * 5000])
def test_an_image_of_any_name_is_taken_or_refused_in_one_line(name: str, folder: Path) -> None:
    status, errors = lines_of(["explain", name, *RUN[2:]])
    assert (status, len(errors)) == (2, 1)
    if name == "\udc80.png":  # which is a file's name on Linux
        Path(name).write_bytes((folder / "photo.png").read_bytes())
        status, errors = lines_of(["explain", name, *RUN[2:], "--calls", "20"])
        assert (status, errors) == (0, [])


@pytest.mark.parametrize("field", ["beta", "window", "temperature", "round_calls", "baseline"])
def test_a_field_of_four_hundred_nines_is_one_line(field: str, folder: Path) -> None:
    method = "sliding-window" if field == "window" else "iassa"
    for word in (NINES, f"-{NINES}", f"{NINES}.0", f"[{NINES}]", "9" * 5000, "\udc80"):
        status, errors = lines_of([*RUN, "--method", method, "--set", f"{field}={word}"])
        assert (status, len(errors)) == (2, 1)
        assert f"expected {field} of {method} to be" in errors[0]


@pytest.mark.parametrize("option", ["seeds", "seed", "workers", "limit", "calls", "min-score"])
def test_numbers_of_a_benchmark_are_refused_in_one_line(option: str, folder: Path) -> None:
    words = ["benchmark", "images", "--images", ".", "--run", "run", "--model", "box:bright"]
    for value in (NINES, "9" * 5000, "nan"):
        status, errors = lines_of([*words, f"--{option}={value}", "--methods", "rise"])
        assert (status, len(errors)) == (2, 1), value[:9]


def test_numbers_of_a_report_are_refused_in_one_line(
    folder: Path,
) -> None:
    for words in (
        ["--compare", f"a@{'9' * 5000} vs b@1"],
        ["--images", ".", "--pictures", "9" * 5000],
    ):
        status, errors = lines_of(["report", "run", *words])
        assert (status, len(errors)) == (2, 1)


# --- extractors of features ----------------------------------------------------------------------

GOOD = torch.rand(3, 4, 6)
WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, "a list of feature maps .* got NoneType"),
    "no list": (GOOD, "a list of feature maps .* got Tensor \\(3, 4, 6\\)"),
    "an empty list": ([], "a list of feature maps .* got empty list"),
    "a mapping": ({"a": GOOD}, "a list of feature maps .* got dict"),
    "arrays": ([GOOD.numpy()], "got ndarray"),
    "the axis of the batch": ([GOOD[None]], "without the axis of the batch"),
    "rows": ([GOOD[0]], r"feature maps \(C, h, w\) .* got Tensor \(4, 6\)"),
    "no channels": ([GOOD[:0]], r"got Tensor \(0, 4, 6\)"),
    "no positions": ([GOOD[:, :0]], r"got Tensor \(3, 0, 6\)"),
    "complex": ([GOOD + 1j], "got Tensor .* of torch.complex64"),
    "sparse": ([GOOD.to_sparse()], "got Tensor"),
    "NaN": ([GOOD, GOOD / 0 * 0], "finite, .* got nan"),
    "infinite": ([GOOD / 0], "finite, .* got inf"),
    "too large to multiply": ([GOOD * 1e30], "finite, and from 1e-09 to .* got .*e[+]"),
    "too small to multiply": ([GOOD * 1e-20], "finite, and from 1e-09 to .* got"),
    "many channels": ([torch.rand(5000, 80, 80)], "at most 4096 channels .* got 5000"),
    "many levels": ([torch.rand(40, 8, 8)] * 200, "at most 4096 channels .* got 8000"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("method", ["iassa", "iassa-paper"])
def test_features_that_attention_cannot_use_are_refused(method: str, case: str) -> None:
    answer, words = WRONG[case]

    def own(image: torch.Tensor) -> Any:
        return answer

    with pytest.raises(InputError, match=f"(?s)expected .*{words}"):
        explain(open_method(method, features=own))


def test_features_that_raise_or_write_to_the_image() -> None:
    def fails(image: torch.Tensor) -> Any:
        return image.no_such_thing  # type: ignore[attr-defined]

    with pytest.raises(InputError, match=r"the features function raised AttributeError.*line"):
        explain(iassa.methods.Iassa(features=fails))

    def writes(image: torch.Tensor) -> Any:
        level = image[:, ::2, ::2].clone()
        image.zero_()
        return [level]

    made = explain(iassa.methods.Iassa(features=writes))
    assert made.scores[0] == pytest.approx(bright(PHOTO[None]).max(), rel=1e-6)


def test_features_of_any_real_type_larger_than_the_image_serve() -> None:
    image = torch.rand(3, 8, 12)
    levels = [torch.randint(0, 9, (2, 30, 40)), torch.rand(3, 4, 6).double().requires_grad_()]

    def own(_: torch.Tensor) -> Any:
        return levels

    found = extract(own, image, 100)
    assert [one.dtype for one in found] == [torch.float32] * 2
    assert not any(one.requires_grad for one in found)
    assert np.isfinite(explain(iassa.methods.Iassa(features=own)).saliency).all()
    with pytest.raises(IassaError, match=r"at most 3 channels from function at .*, got 5"):
        extract(own, image, 2**23 + 1)
