"""Greedy search: the order of a loop, of a box that is known, and its calls."""

from __future__ import annotations

import numpy as np
import pytest

import iassa
from iassa.errors import BlackBoxError, CancelledError, InputError
from iassa.image import to_planes
from iassa.methods import Greedy

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")

PHOTO = np.random.default_rng(1).uniform(0.3, 0.5, (48, 72, 3)).astype(np.float32)


def labels_of(method, calls):
    found = method.players(to_planes(PHOTO, (48, 72)), calls)
    return found.labels[0].numpy(), found.num_segments


class Box:
    """Scores of the superpixels that are shown: (N, S) bool to (N, K)."""

    def __init__(self, labels, scores, fails_at=None):
        self.first = [tuple(np.argwhere(labels == s)[0]) for s in range(labels.max() + 1)]
        self.scores = scores
        self.shown = []
        self.fails_at = fails_at

    def __call__(self, images):
        shown = np.stack([images[:, r, c].max(1) > 0 for r, c in self.first], 1)
        self.shown += [one.tobytes() for one in shown]
        if self.fails_at is not None and len(self.shown) >= self.fails_at:
            raise RuntimeError("out of paper")
        return self.scores(shown)


def coupled(segments, seed=0):
    """Two scores in which superpixels work together."""
    rng = np.random.default_rng(seed)
    weights, pairs = rng.normal(size=(segments, 2)), rng.normal(size=(segments, segments, 2)) / 4

    def scores(shown):
        bits = shown.astype(np.float64)
        return np.tanh(bits @ weights / 2) + np.einsum("ni,nj,ijk->nk", bits, bits, pairs)

    return scores


def looped(scores, segments, target, pending):
    """Front and back, a superpixel at a time, and how many images were scored."""
    asked = 0

    def gain(chosen):
        nonlocal asked
        asked += 2
        shown = np.zeros((1, segments), bool)
        shown[0, list(chosen)] = True
        return (scores(shown) - scores(~shown))[0, target]

    rest, front, back = list(range(segments)), [], []
    while rest:
        gains = {s: gain([*front, s]) for s in rest}
        many = len(rest) > pending > 0
        front.append(max(rest, key=gains.__getitem__))
        rest.remove(front[-1])
        if many:
            last = sorted(rest, key=gains.__getitem__)[:pending]
            worst = {s: gain([*back, s]) for s in last}
            back.append(min(worst, key=worst.__getitem__))
            rest.remove(back[-1])
    return [*front, *reversed(back)], asked


@pytest.mark.parametrize("pending", [0, 1, 4, 40])
@pytest.mark.parametrize("seed", range(2))
def test_the_order_is_that_of_a_loop(pending, seed):
    method = Greedy(num_segments=14, pending=pending, baseline=0.0)
    calls = 2000
    labels, segments = labels_of(method, calls // 2 - 1)
    assert 5 < segments < 30
    scores = coupled(segments, seed)
    box = Box(labels, scores)
    found = iassa.explain(PHOTO, box, method=method, target=[0, 1], calls=calls)
    total = 0
    for target in range(2):
        order, asked = looped(scores, segments, target, pending)
        total += asked
        ranks = np.empty(segments)
        ranks[order] = np.arange(segments, 0, -1) / segments
        np.testing.assert_array_equal(found.saliency[target], ranks[labels].astype(np.float32))
    # And the whole image, the baseline, one image again. All superpixels, or none, cost nothing.
    assert found.calls == len(box.shown) <= 3 + total
    assert found.calls >= 3 + total - 8
    assert found.stopped == "rounds"
    assert found.method["measures"] == "rank"
    assert np.isinf(found.standard_error).all()


@pytest.mark.parametrize("pending", [0, 8])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_additive_box_is_put_in_the_order_of_its_weights(pending, sign):
    method = Greedy(num_segments=16, pending=pending, baseline=0.0)
    labels, segments = labels_of(method, 998)
    weights = np.random.default_rng(3).normal(size=segments)
    box = Box(labels, lambda shown: shown @ (sign * weights)[:, None])
    found = iassa.explain(PHOTO, box, method=method, target=0, calls=1000)
    ranks = (sign * weights).argsort().argsort() + 1
    np.testing.assert_allclose(found.saliency[0], (ranks / segments)[labels], rtol=1e-6)


@pytest.mark.parametrize("segments", range(1, 60))
def test_both_ends_cost_less(segments):
    """m (m + 1) calls from the front alone; with both ends about 0.65 of that for fifty."""
    alone, both = Greedy(pending=0)._cost(segments), Greedy()._cost(segments)
    assert alone == segments * (segments + 1)
    assert both <= alone
    if segments == 50:
        assert 0.6 < both / alone < 0.7


@pytest.mark.parametrize("calls", [17, 18, 40, 100, 500])
@pytest.mark.parametrize("targets", [1, 2])
def test_calls_decide_how_many_superpixels_there_are(calls, targets):
    shown = 0

    def box(images):
        nonlocal shown
        shown += len(images)
        planes = images.astype(np.float64).mean(3)
        return np.stack([planes[:, :20, :30].mean((1, 2)), planes[:, 20:, 40:].mean((1, 2))], 1)

    found = iassa.explain(PHOTO, box, method="greedy", target=[0, 1][:targets], calls=calls)
    assert shown == found.calls <= calls
    # As many as there could be, or two thirds of that: SLIC makes squares where it can.
    _, segments = labels_of(Greedy(), (calls - 1) // targets)
    most = max(m for m in range(1, 51) if Greedy()._cost(m) < (calls - 1) // targets)
    assert 0.6 * most <= segments <= most or most < 4
    assert len(np.unique(found.saliency[0])) == segments


def test_too_many_targets_for_the_calls_are_refused():
    def box(images):
        return images.mean((1, 2))  # three scores

    with pytest.raises(InputError, match="more than 6 calls for each target of greedy, got 5"):
        iassa.explain(PHOTO, box, method="greedy", target=[0, 1, 2], calls=17)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("seed", [0, 3])
def test_neither_batch_nor_seed_matters(batch_size, seed):
    method = Greedy(baseline=0.0)
    labels, segments = labels_of(method, 198)
    one, other = (
        iassa.explain(PHOTO, Box(labels, coupled(segments)), method=method, calls=200, **options)
        for options in ({"batch_size": batch_size, "seed": seed}, {})
    )
    np.testing.assert_array_equal(one.saliency, other.saliency)


def test_a_run_that_is_cut_short_keeps_the_ends_that_it_has():
    method = Greedy(num_segments=14, baseline=0.0)
    labels, segments = labels_of(method, 998)
    scores = coupled(segments)
    order, _ = looped(scores, segments, 0, 8)
    first_step = 2 * segments + (16 if segments > 8 else 0)
    calls = 3 + first_step + 4  # into the second step
    stops = iter([False] * (calls - 1))
    cut = iassa.explain(
        PHOTO,
        Box(labels, scores),
        method=method,
        target=0,
        calls=1000,
        batch_size=1,
        cancel=lambda: next(stops, True),
    )
    assert (cut.calls, cut.stopped) == (calls, "cancelled")
    ranks = [cut.saliency[0][labels == s][0] for s in range(segments)]
    assert np.argmax(ranks) == order[0]
    assert np.argmin(ranks) == order[-1]
    assert len(set(ranks)) == segments
    # The others by what they gained in the first step.
    alone = np.eye(segments, dtype=bool)
    gains = (scores(alone) - scores(~alone))[:, 0]
    between = [s for s in range(segments) if s not in (order[0], order[-1])]
    assert sorted(between, key=lambda s: gains[s]) == sorted(between, key=lambda s: ranks[s])
    failing = Box(labels, scores, fails_at=calls + 1)
    with pytest.raises(iassa.RunFailedError) as caught:
        iassa.explain(PHOTO, failing, method=method, target=0, calls=1000, batch_size=1)
    np.testing.assert_array_equal(caught.value.explanation.saliency, cut.saliency)


def test_what_ends_before_a_step_has_no_map():
    method = Greedy(baseline=0.0)
    labels, segments = labels_of(method, 198)
    stops = iter([False] * 4)
    with pytest.raises(CancelledError, match="needs all of its calls"):
        iassa.explain(
            PHOTO,
            Box(labels, coupled(segments)),
            method=method,
            calls=200,
            batch_size=1,
            cancel=lambda: next(stops, True),
        )
    box = Box(labels, coupled(segments), fails_at=2)
    with pytest.raises(BlackBoxError, match="out of paper"):
        iassa.explain(PHOTO, box, method=method, calls=200)


def test_the_colour_bar_says_that_it_is_a_rank():
    found = iassa.explain(PHOTO, lambda images: images.mean((1, 2)), method="greedy", calls=60)
    figure = found.plot()
    assert "rank" in [axes.get_ylabel() for axes in figure.axes]
