"""Pairs of images in a benchmark: similarities by hand, and tables that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import iassa
from iassa.benchmark import Contestant, ItemKey, Outcome, Protocol, Store, run
from iassa.benchmark.datasets import ImagePairs
from iassa.benchmark.evaluation import method_seed
from iassa.cli import main
from iassa.errors import InputError
from made_runs import contents
from working import brightness

SIZES = {"a.png": (40, 56), "b.png": (48, 40), "more/c.png": (36, 60)}
TABLE = "image,query\na.png,b.png\na.png,more/c.png\nmore/c.png,b.png\n"
PAIRS = [("a.png", "b.png"), ("a.png", "more/c.png"), ("more/c.png", "b.png")]
RISE = Contestant("rise", iassa.methods.Rise(), (40, 90))
PROTOCOL = Protocol(pixels_per_step=400, gain_steps=2, gain_fills=("grey",))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number, (name, size) in enumerate(SIZES.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "pairs.csv").write_text(TABLE)
    return tmp_path


def go(folder: str = "run", **options: Any) -> Outcome:
    dataset = ImagePairs(Path("photos"), Path("pairs.csv"))
    settings: dict[str, Any] = {"model": "working:brightness", "protocol": PROTOCOL} | options
    return run(dataset, Path(folder), [RISE], **settings)


def cosine(images: NDArray[np.float32], query: str) -> NDArray[np.float64]:
    wanted = brightness(iassa.image.as_image(f"photos/{query}")[None])[0]
    found = brightness(images)
    lengths = np.sqrt((found**2).sum(1)) * np.sqrt((wanted**2).sum())
    return np.asarray((found @ wanted / lengths)[:, None])


def test_each_pair_is_explained_by_its_similarity(place: Path) -> None:
    outcome = go()
    assert (outcome.items, outcome.excluded, outcome.failures) == (3, {}, ())
    with Store.read(Path("run")) as store:
        entries = {(entry.image, entry.category): entry for entry in store.entries()}
        items = {item.key.entry: item for item in store.items(with_curves=True)}
        assert set(entries) == {*PAIRS}
        for (image, query), entry in entries.items():
            assert entry.key == f"{image} {query}"
            photo = iassa.image.as_image(f"photos/{image}")
            assert entry.score == pytest.approx(float(cosine(photo[None], query)[0, 0]), abs=1e-5)
            item = items[entry.key]
            assert item.calls == 90 + 1  # and the query
            alone = iassa.explain(
                photo,
                lambda images, query=query: cosine(images, query),
                target=0,
                method=RISE.method,
                calls=90,
                seed=method_seed(ItemKey(entry.key, "rise", 0)),
            )
            snapshot = item.snapshots[1]
            np.testing.assert_allclose(
                store.saliency(item.key, 1),
                alone.saliency[0],
                atol=snapshot.saliency_error + 1e-5,
            )
            gain = iassa.metrics.relevance_gain(
                alone.saliency[0],
                photo,
                lambda images, query=query: cosine(images, query),
                [1.0],
                baseline=0.5,
                pixels_per_step=-(-photo[..., 0].size // 2),
            ).gain
            assert snapshot.metrics["gain"] == pytest.approx(gain, abs=1e-4)
            assert {"deletion", "insertion"} <= set(snapshot.metrics)
            assert "pointing" not in snapshot.metrics  # nothing is annotated


def test_every_call_is_counted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNT", str(place / "count"))
    go(model="working:counted")
    with Store.read(Path("run")) as store:
        made = sum(item.calls + item.metric_calls for item in store.items())
    whole = 2 + 3  # two images, and the three queries that they are compared with
    assert len((place / "count").read_text()) == made + whole


def test_stopped_and_gone_on_with_any_number_of_workers_it_is_the_same(place: Path) -> None:
    go("whole")
    assert go("parts", limit=1).made == 1
    assert go("parts", workers=2).made == 2
    assert contents(Path("parts")) == contents(Path("whole"))


def test_what_changed_is_told(place: Path) -> None:
    go(limit=1)
    dataset = ImagePairs(Path("photos"), Path("pairs.csv"))
    size = SIZES["b.png"]
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save("photos/b.png")
    with pytest.raises(InputError, match=r"the query b\.png is not as it was when the run began"):
        dataset.read_query("b.png")
    with pytest.raises(InputError, match="the content of the query images"):
        go()
    (place / "pairs.csv").write_text("image,query\na.png,b.png\n")
    with pytest.raises(InputError, match="the pairs of images"):
        go()


def test_a_query_without_an_angle_is_left_out_with_its_name(place: Path) -> None:
    """A black image has no features: nothing is like it."""
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save("photos/b.png")
    (place / "pairs.csv").write_text("image,query\na.png,b.png\n")
    with pytest.raises(InputError) as caught:
        go()
    assert "expected an entry to explain, got none" in str(caught.value)
    assert "all zero for b.png" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("", "expected a CSV file with the columns image,query as its first row, got an empty"),
        ("image\na.png\n", "as its first row, got 'image' in pairs.csv"),
        ("a.png,b.png\n", "as its first row, got 'a.png,b.png'"),
        ("image,query\n", "and a row for each pair, got none"),
        ("image,query\na.png\n", "expected an image and a query in row 2 of pairs.csv, got 'a.png"),
        ("image,query\na.png,\n", "an image and a query in row 2 of pairs.csv, got 'a.png,'"),
        ("image,query\n\na.png,b.png,c\n", "an image and a query in row 3"),
        ("image,query\na.png,z.png\n", "expected names of images in photos in pairs.csv, got 'z.p"),
        ("image,query\na.png,a.png\n", "got an image with itself in row 2"),
        ("image,query\na.png,b.png\na.png, b.png\n", "got a pair twice in row 3"),
    ],
)
def test_tables_that_are_none(place: Path, table: str, word: str) -> None:
    (place / "pairs.csv").write_text(table)
    with pytest.raises(InputError) as caught:
        ImagePairs(Path("photos"), Path("pairs.csv"))
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(place: Path) -> None:
    (place / "pairs.csv").write_bytes(b"image,query\n\xff,b.png\n")
    with pytest.raises(InputError, match=r"in UTF-8, got pairs\.csv"):
        ImagePairs(Path("photos"), Path("pairs.csv"))
    with pytest.raises(InputError, match=r"the pairs none\.csv"):
        ImagePairs(Path("photos"), Path("none.csv"))


def test_the_command_and_its_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([*arguments])
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    asked = ["benchmark", "pairs", "--images", "photos", "--run", "run", "--methods", "rise"]
    quick = ["--calls", "40", "--protocol", "pixels_per_step=20000", "--protocol", "gain_fills="]
    # The default model gives features, its classifier's last layer taken off.
    status, out, err = call(*asked, "--pairs", "pairs.csv", "--limit", "1", *quick)
    assert (status, out) == (0, "run\n"), err
    with Store.read(Path("run")) as store:
        assert store.configuration["model"]["name"] == "efficientnet-lite0-features"
    status, _, err = call("report", "run", "--images", "photos", "--pictures", "1")
    assert status == 0, err
    for more, word in (
        ([], "expected `iassa benchmark pairs` with --pairs"),
        (["--pairs", "pairs.csv", "--target", "top-1"], "without a target and classes, got 'top"),
        (["--pairs", "pairs.csv", "--model", "working:patches"], "got the detector patches"),
        (["--pairs", "pairs.csv", "--boxes"], "expected `iassa benchmark pairs` without --boxes"),
    ):
        status, _, err = call(*asked, *more, "--run", "other")
        assert (status, len(err.splitlines())) == (2, 1)
        assert word in err
    status, _, err = call("benchmark", "images", *asked[2:], "--pairs", "pairs.csv")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "expected `iassa benchmark images` without --pairs" in err
