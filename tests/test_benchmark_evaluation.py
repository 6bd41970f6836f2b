"""One item of a benchmark, against maps and metrics made step by step."""

from __future__ import annotations

import dataclasses
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import iassa
import working
from iassa.benchmark import evaluation
from iassa.benchmark.contestant import Contestant
from iassa.benchmark.evaluation import MakeItem, method_seed, other_output
from iassa.benchmark.protocol import Protocol
from iassa.benchmark.store.records import Item, ItemKey
from iassa.errors import InputError
from iassa.explanations.evidence import Evidence
from iassa.image import decode_image, resize
from iassa.masks.baselines import open_baseline
from iassa.metrics import (
    average_precision,
    best_f1,
    deletion,
    insertion,
    linear_imputation,
    overlap_at,
    pointing_game,
    random_logit,
    relevance_gain,
    relevance_mass,
    relevance_rank_accuracy,
)
from iassa.models.targets import Target

SIZE = (36, 50)
KEY = ItemKey("photo.png dog", "label", 3)
TARGET = Target("dog", (1, 3), (1.0, -2.0))
PROTOCOL = Protocol(
    size=(18, 25),
    pixels_per_step=30,
    fill=0.2,
    threshold=0.4,
    tolerance=6.0,
    gain_fills=("grey", "road"),
    gain_steps=9,
)


def png(seed: int = 0, size: tuple[int, int] = SIZE) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def annotation() -> np.ndarray:
    marked = np.zeros(SIZE, bool)
    marked[5:20, 10:31] = True
    return marked


def make(contestant: Contestant, annotated: bool = True, protocol: Protocol = PROTOCOL) -> Item:
    black_box = iassa.open_model(working.brightness)
    marked = annotation() if annotated else None
    return MakeItem(KEY, png(), TARGET, marked, contestant, protocol).run(black_box)


def explain(method: iassa.methods.Explainer, calls: int) -> iassa.Explanation:
    photo = np.asarray(Image.open(io.BytesIO(png())), np.float32) / np.float32(255)
    return iassa.explain(
        photo,
        working.brightness,
        method=method,
        target=TARGET,
        calls=calls,
        seed=method_seed(KEY),
        keep_scores=0,
    )


def measured(explanation: iassa.Explanation) -> np.ndarray:
    """The map at the size of the protocol, as the curves see it."""
    return resize(torch.from_numpy(explanation.saliency[0]), (18, 25)).numpy()


def shrunk_photo() -> np.ndarray:
    """The image at the size of the protocol, as the curves see it."""
    photo = np.asarray(Image.open(io.BytesIO(png())), np.float32) / np.float32(255)
    small = resize(torch.from_numpy(photo).permute(2, 0, 1), (18, 25)).permute(1, 2, 0)
    return small.clamp(0, 1).numpy()


METHODS = [
    iassa.methods.Iassa(round_calls=64, features="colour-position"),
    iassa.methods.Rise(round_calls=64),
    iassa.methods.Occlusion(),
    iassa.methods.Lime(segmentation="slic"),
    iassa.methods.ShapPartition(),
    iassa.methods.Sobol(),  # 60 calls ask about fewer cells than 100
    iassa.methods.Hsic(round_calls=64),
    iassa.methods.ShapBpt(),
    iassa.methods.Greedy(),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_snapshot_is_the_map_of_a_run_with_its_budget(method: iassa.methods.Explainer) -> None:
    item = make(Contestant("label", method, (60, 100, 150)))
    assert [snapshot.budget for snapshot in item.snapshots] == [60, 100, 150]
    for snapshot in item.snapshots:
        assert snapshot.budget is not None
        alone = explain(method, snapshot.budget)
        np.testing.assert_array_equal(snapshot.saliency, measured(alone))
        assert (snapshot.calls, snapshot.rounds) == (alone.calls, len(alone.rounds))
        assert snapshot.relative_error == alone.relative_error


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_calls_are_counted_once(method: iassa.methods.Explainer) -> None:
    images = 0

    def counting(batch: np.ndarray) -> np.ndarray:
        nonlocal images
        images += len(batch)
        return working.brightness(batch)

    counting.__qualname__ = "counting"
    contestant = Contestant("label", method, (60, 100))
    black_box = iassa.models.FunctionModel(counting, name="counting")
    item = MakeItem(KEY, png(), TARGET, None, contestant, PROTOCOL).run(black_box)
    assert images == item.calls + item.metric_calls
    # At two budgets: two curves, and two for each of two fills.
    assert item.metric_calls == 2 * (2 * (1 + 18 * 25 / 30) + 2 * 2 * (1 + 9))
    first, last = (snapshot.calls for snapshot in item.snapshots)
    # Games keep no evidence to go on from, and Sobol has another grid: they are run again.
    again = method.name in ("shap-partition", "shap-bpt", "greedy", "sobol")
    assert item.calls == (first + last if again else last)


def test_an_image_is_decoded_once_for_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def decode(content: bytes, name: str, *reading: Any) -> np.ndarray:
        decoded.append(name)
        return decode_image(content, name, *reading)

    monkeypatch.setattr(evaluation, "decode_image", decode)
    black_box = iassa.open_model(working.brightness)
    items = []
    for entry, content in (("a", png(1)), ("b", png(2)), ("a", png(1))):
        for method in (iassa.methods.Rise(), iassa.methods.Lime()):
            key, contestant = ItemKey(entry, "label", 3), Contestant("label", method, (40,))
            task = MakeItem(key, content, TARGET, None, contestant, PROTOCOL)
            items.append(task.run(black_box).snapshots[0].metrics)
    assert decoded == ["a", "b", "a"]
    assert items[:2] == items[4:]
    assert items[0] != items[2]


def test_after_every_round() -> None:
    method = iassa.methods.Rise(round_calls=50)
    item = make(Contestant("label", method, (170,), every_round=True))
    assert [(s.budget, s.rounds, s.calls) for s in item.snapshots] == [
        (None, 1, 52),
        (None, 2, 102),
        (None, 3, 152),
        (None, 4, 170),
    ]
    np.testing.assert_array_equal(item.snapshots[1].saliency, measured(explain(method, 102)))
    assert item.calls == 170


def test_metrics_are_those_of_the_map() -> None:
    item = make(Contestant("label", iassa.methods.Rise(), (80,)))
    (snapshot,) = item.snapshots
    explanation = explain(iassa.methods.Rise(), 80)
    marked, whole = annotation(), explanation.saliency[0]
    overlap = overlap_at(whole, marked, fraction=0.4)
    pointing = pointing_game(whole, marked)
    expected = {
        "f1": overlap.f1,
        "iou": overlap.iou,
        "precision": overlap.precision,
        "recall": overlap.recall,
        "best_f1": best_f1(whole, marked).f1,
        "average_precision": average_precision(whole, marked),
        "relevance_mass": relevance_mass(whole, marked),
        "relevance_rank": relevance_rank_accuracy(whole, marked),
        "pointing": float(pointing.hit),
        "pointing_tolerant": float(pointing.distance <= 6),
    }
    assert expected.items() <= snapshot.metrics.items()

    image = shrunk_photo()
    saliency = measured(explanation)
    weights = [0.0, 1.0, 0.0, -2.0]

    def in_float32(images: np.ndarray) -> np.ndarray:
        return working.brightness(images).astype(np.float32)

    for name, curve in (
        (
            "deletion",
            deletion(saliency, image, in_float32, weights, baseline=0.2, pixels_per_step=30),
        ),
        ("insertion", insertion(saliency, image, in_float32, weights, pixels_per_step=30)),
    ):
        np.testing.assert_allclose(snapshot.curves[name].scores, curve.scores, rtol=1e-6)
        assert snapshot.metrics[name] == pytest.approx(curve.area, rel=1e-6)
    gap = snapshot.metrics["insertion"] - snapshot.metrics["deletion"]
    assert snapshot.metrics["insertion_minus_deletion"] == pytest.approx(gap)


def test_without_annotation_there_are_no_metrics_of_it() -> None:
    item = make(Contestant("label", iassa.methods.Rise(), (80,)), annotated=False)
    metrics = item.snapshots[0].metrics
    assert {"deletion", "insertion", "insertion_minus_deletion", "gain"} <= metrics.keys()
    of_annotation = {"f1", "iou", "best_f1", "pointing", "pointing_tolerant", "relevance_mass"}
    assert not {*of_annotation, "average_precision", "relevance_rank"} & metrics.keys()


def test_gains_are_those_of_the_metric_and_their_mean() -> None:
    protocol = dataclasses.replace(PROTOCOL, gain_fills=("mean", "blur", "road"), gain_steps=7)
    method = iassa.methods.Rise()
    (snapshot,) = make(Contestant("label", method, (80,)), protocol=protocol).snapshots
    image = shrunk_photo()
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy())
    fills = {
        "mean": image.mean(axis=(0, 1)),
        "blur": open_baseline("blur", planes, 0).permute(1, 2, 0).numpy(),
        "road": linear_imputation(image, seed=0),
    }
    gains = []
    for name, fill in fills.items():
        expected = relevance_gain(
            measured(explain(method, 80)),
            image,
            working.brightness,
            [0.0, 1.0, 0.0, -2.0],
            baseline=fill,
            pixels_per_step=65,  # 450 pixels in 7 steps
        )
        gains.append(expected.gain)
        assert snapshot.metrics[f"gain_{name}"] == pytest.approx(expected.gain, rel=1e-4, abs=1e-6)
        assert snapshot.curves[f"most_first_{name}"].scores.shape == (8,)
    assert snapshot.metrics["gain"] == pytest.approx(np.mean(gains), rel=1e-4, abs=1e-6)


def test_without_fills_there_is_no_gain() -> None:
    protocol = dataclasses.replace(PROTOCOL, gain_fills=())
    (snapshot,) = make(
        Contestant("label", iassa.methods.Rise(), (60,)), protocol=protocol
    ).snapshots
    assert set(snapshot.curves) == {"deletion", "insertion"}
    assert not [name for name in snapshot.metrics if name.startswith("gain")]


# --- the map of another class -------------------------------------------------------------------


def made_with(contestant: Contestant, other: int | None, protocol: Protocol = PROTOCOL) -> Item:
    black_box = iassa.open_model(working.brightness)
    asked = (KEY, png(), TARGET, None, contestant, protocol)
    return MakeItem(*asked, other=other).run(black_box)


def outputs_of(item: Item) -> tuple[int, ...]:
    assert item.evidence is not None
    return Evidence.unpack(item.evidence).outputs


@pytest.mark.parametrize("method", METHODS[:4], ids=lambda method: method.name)
def test_each_map_is_compared_with_that_of_another_class(method: iassa.methods.Method) -> None:
    contestant = Contestant("label", method, (60, 100))
    item, without = made_with(contestant, 2), made_with(contestant, None)
    assert (item.calls, item.metric_calls) == (without.calls, without.metric_calls)
    assert outputs_of(item) == (1, 2, 3)
    assert outputs_of(without) == (1, 3)
    assert item.evidence is not None
    assert without.evidence is not None
    column = 8 * (item.calls - 1)  # of one output, in double precision
    assert len(item.evidence) - len(without.evidence) < column + 200
    for snapshot in item.snapshots:
        assert snapshot.budget is not None
        photo = np.asarray(Image.open(io.BytesIO(png())), np.float32) / np.float32(255)
        whole = iassa.explain(
            photo,
            working.brightness,
            method=method,
            target=TARGET,
            calls=snapshot.budget,
            seed=method_seed(KEY),
            keep_scores="all",
        )
        found = random_logit(whole.saliency[0], iassa.retarget(whole, 2).saliency[0])
        assert snapshot.metrics["other_class_rank_correlation"] == found.rank_correlation
        assert snapshot.metrics["other_class_structural_similarity"] == found.structural_similarity


@pytest.mark.parametrize(
    ("contestant", "other", "protocol"),
    [
        (Contestant("label", iassa.methods.ShapPartition(), (60,)), 2, PROTOCOL),
        (Contestant("label", iassa.methods.Rise(round_calls=40), (80,), True), 2, PROTOCOL),
        (Contestant("label", iassa.methods.Rise(), (60,)), None, PROTOCOL),
        (
            Contestant("label", iassa.methods.Rise(), (60,)),
            2,
            dataclasses.replace(PROTOCOL, other_class=False),
        ),
    ],
    ids=["no evidence", "every round", "no other", "not asked for"],
)
def test_where_there_is_no_map_of_another_class(
    contestant: Contestant, other: int | None, protocol: Protocol
) -> None:
    item = made_with(contestant, other, protocol)
    assert not any(name.startswith("other") for one in item.snapshots for name in one.metrics)


def test_a_method_that_ran_with_other_settings_is_taken_as_it_ran() -> None:
    made_by = iassa.methods.Sobol(grid_size=14, baseline="blur")
    item = made_with(Contestant("label", made_by, (60,)), 2)
    assert "other_class_rank_correlation" in item.snapshots[0].metrics


def test_a_map_of_another_class_that_is_flat_or_small_is_none() -> None:
    def second_is_flat(images: np.ndarray) -> np.ndarray:
        return np.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0] * 0 + 0.5], axis=1)

    contestant = Contestant("label", iassa.methods.Rise(), (60,))
    for size, other in ((SIZE, 1), ((10, 30), 0)):
        asked = (KEY, png(size=size), Target("a", (1 - other,), (1.0,)), None, contestant, PROTOCOL)
        item = MakeItem(*asked, other=other).run(iassa.open_model(second_is_flat))
        assert "other_class_rank_correlation" not in item.snapshots[0].metrics


def test_the_other_class_is_drawn_by_entry_and_seed_among_all_but_the_target_s() -> None:
    keys = [ItemKey(f"{number}.png", "a", number % 3) for number in range(600)]
    drawn = [other_output(key, TARGET, 6) for key in keys]
    counts = {output: drawn.count(output) for output in (0, 2, 4, 5)}
    assert sum(counts.values()) == 600
    assert min(counts.values()) > 110  # of 150
    again = [other_output(dataclasses.replace(key, method="b"), TARGET, 6) for key in keys]
    assert drawn == again
    assert other_output(KEY, Target("all", (0, 1), (1.0, 1.0)), 2) is None


def test_the_curves_are_taken_at_what_the_black_box_looks_at() -> None:
    black_box = iassa.models.FunctionModel(working.brightness, input_size=(12, 20))
    contestant = Contestant("label", iassa.methods.Rise(), (80,))
    protocol = Protocol(pixels_per_step=24)
    item = MakeItem(KEY, png(), TARGET, None, contestant, protocol).run(black_box)
    assert len(item.snapshots[0].curves["deletion"].scores) == 12 * 20 / 24 + 1
    item = make(contestant, protocol=Protocol(pixels_per_step=100))
    assert len(item.snapshots[0].curves["deletion"].scores) == 36 * 50 / 100 + 1


def test_evidence_holds_what_was_spent() -> None:
    item = make(Contestant("label", iassa.methods.Rise(), (60, 100)))
    assert item.evidence is not None
    kept = Evidence.unpack(item.evidence)
    masks = [one.plan for scored in kept.rounds for one in scored.families.values()]
    assert sum(map(len, masks)) == 98
    assert make(Contestant("label", iassa.methods.ShapPartition(), (60,))).evidence is None


def test_seeds_differ_by_entry_and_seed_and_not_by_method() -> None:
    seeds = {method_seed(ItemKey(f"{k}.png", "a", seed)) for k in range(50) for seed in range(3)}
    assert len(seeds) == 150
    assert method_seed(KEY) == method_seed(ItemKey(KEY.entry, "another", KEY.seed))


def test_an_item_can_be_sent() -> None:
    item = make(Contestant("label", iassa.methods.Rise(), (60,)))
    sent = pickle.loads(pickle.dumps(item))
    np.testing.assert_array_equal(sent.snapshots[0].saliency, item.snapshots[0].saliency)
    assert sent.key == item.key
    assert sent.warnings == item.warnings


@pytest.mark.parametrize(
    "fields",
    [
        {"size": (0, 5)},
        {"pixels_per_step": 0},
        {"fill": 1.5},
        {"fill": float("nan")},
        {"blur_size": 4},
        {"blur_sigma": 0.0},
        {"normalise": "most"},
        {"threshold": 1.0},
        {"tolerance": -1.0},
        {"tolerance": float("nan")},
        {"gain_steps": 0},
    ],
)
def test_a_protocol_that_measures_nothing_is_refused(fields: dict) -> None:
    (name,) = fields
    with pytest.raises(InputError, match=f"expected {name} to be"):
        Protocol(**fields)


@pytest.mark.parametrize("fills", [("grey", "snow"), ("grey", "grey"), ["ROAD"]])
def test_an_unknown_fill_is_refused_with_the_known_ones(fills: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"gain_fills among zero, grey, mean, blur, noise.* road"):
        Protocol(gain_fills=fills)
