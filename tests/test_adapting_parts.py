"""The parts of an adaptation: views, k-means, judgement, against loops and other libraries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import Tensor

from iassa.adapting.clustering import (
    assign,
    centres_of,
    cluster,
    find_clusters,
    fit_whitening,
)
from iassa.adapting.judging import OFFSETS, separation
from iassa.adapting.network import Levels, describe_all
from iassa.adapting.training import settle
from iassa.adapting.views import CHANGES, Place, change_colours, draw_place
from iassa.cli.features import DOMAINS
from iassa.estimators.attention import fuse
from iassa.image import resize
from iassa.models.efficientnet_lite0 import INPUT_SIZE
from iassa.models.features import open_features
from rounding import steps


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape)).float()


# --- views ------------------------------------------------------------------------------------


def places_of(height: int, width: int) -> Tensor:
    """Planes whose value at each pixel is its row, its column, and 0, in shares of the sides."""
    rows = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    columns = ((torch.arange(width) + 0.5) / width)[None, :].expand(height, width)
    return torch.stack([rows, columns, torch.zeros(height, width)])


@pytest.mark.parametrize("kind", CHANGES)
def test_a_view_shows_the_positions_that_its_labels_are_looked_up_at(kind: str) -> None:
    """The image says where each pixel was, the labels say it too: both ways must agree."""
    height, width, size = 96, 160, 40
    image = places_of(height, width)
    numbers = torch.arange(28 * 28).reshape(28, 28)
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(40):
        place = draw_place(CHANGES[kind], (height, width), rng)
        seen.add((place.mirrored, place.turns))
        view = place.show(image, size)
        labels = place.look_up(numbers, 10)
        assert view.shape == (3, size, size)
        # The middle of each of 10 x 10 positions, as the view itself says.
        middle = resize(view, (10, 10))[:2]
        rows, columns = labels // 28, labels % 28
        found = torch.stack([(rows + 0.5) / 28, (columns + 0.5) / 28])
        inside = (slice(None), slice(1, -1), slice(1, -1))  # the filter ends at the edges
        assert float((found - middle)[inside].abs().max()) < 0.5 / 28 + 0.01
    turns = range(4) if CHANGES[kind].turned else range(1)
    assert seen == {*itertools.product((False, True), turns)}


def test_a_view_by_hand() -> None:
    labels = torch.tensor([[1, 2], [3, 4]])
    whole = (0.0, 0.0, 1.0, 1.0)
    assert Place(whole, False, 0).look_up(labels, 2).tolist() == [[1, 2], [3, 4]]
    assert Place(whole, True, 0).look_up(labels, 2).tolist() == [[2, 1], [4, 3]]
    assert Place(whole, False, 1).look_up(labels, 2).tolist() == [[2, 4], [1, 3]]
    assert Place((0.5, 0, 1, 0.5), False, 0).look_up(labels, 2).tolist() == [[3, 3], [3, 3]]
    image = labels.float().expand(3, 2, 2)
    for mirrored, turns in itertools.product((False, True), range(4)):
        place = Place(whole, mirrored, turns)
        assert torch.equal(place.show(image, 2)[0], place.look_up(labels, 2).float())


@pytest.mark.parametrize("kind", CHANGES)
def test_colours_change_as_the_domain_allows(kind: str) -> None:
    rng = np.random.default_rng(2)
    grey = random_tensor(1, 9, 13).expand(3, 9, 13) * 0.4 + 0.3
    coloured = random_tensor(3, 9, 13, seed=1) * 0.4 + 0.3
    for _ in range(20):
        changed = change_colours(grey, CHANGES[kind], rng)
        # Grey stays grey: a turn of the hues is about its axis.
        np.testing.assert_allclose(changed[0], changed[1], atol=steps(16, 1.0))
        changed = change_colours(coloured, CHANGES[kind], rng)
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
        if not CHANGES[kind].saturation and not CHANGES[kind].hue and changed.min() > 0:
            # One line for all three channels: no change of hue where colour means nothing.
            slopes = (changed[:, 0, 0] - changed[:, 5, 7]) / (coloured[:, 0, 0] - coloured[:, 5, 7])
            if float(changed.max()) < 1:
                assert float(slopes.max() - slopes.min()) < 1e-3


def test_the_command_names_the_domains() -> None:
    assert {*DOMAINS} == CHANGES.keys()


# --- clustering -------------------------------------------------------------------------------


def numpy_kmeans(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Lloyd's algorithm as a loop; no cluster may be empty."""
    for _ in range(100):
        labels = np.array([np.argmin([np.sum((p - c) ** 2) for c in centres]) for p in points])
        moved = np.array([points[labels == k].mean(0) for k in range(len(centres))])
        if np.allclose(moved, centres):
            break
        centres = moved
    return labels


def test_clusters_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    middles = rng.normal(0, 10, (5, 3))
    points = np.concatenate([rng.normal(middle, 0.3, (20, 3)) for middle in middles])
    centres = cluster(torch.from_numpy(points), 5, torch.Generator().manual_seed(0))
    labels = assign(torch.from_numpy(points), centres).numpy()
    expected = numpy_kmeans(points, centres.numpy())
    assert (labels == expected).all()
    assert {tuple(np.unique(labels[k : k + 20])) for k in range(0, 100, 20)} == {
        (k,) for k in range(5)
    }
    for k in range(5):
        np.testing.assert_allclose(centres[k], points[labels == k].mean(0), atol=1e-9)


def test_points_go_to_the_nearest_centre_whatever_its_length() -> None:
    points, centres = random_tensor(50, 4), random_tensor(7, 4, seed=1) * 3
    distances = torch.cdist(points, centres)
    assert torch.equal(assign(points, centres), distances.argmin(1))
    means = centres_of(points, assign(points, centres), 7)
    for k in range(7):
        mine = points[distances.argmin(1) == k]
        expected = mine.mean(0) if len(mine) else torch.zeros(4)
        np.testing.assert_allclose(means[k], expected, atol=steps(16, 1.0))


def test_an_empty_cluster_is_filled_from_another() -> None:
    """Only three points differ, so of six clusters three cannot have any; none is lost or NaN."""
    points = torch.eye(3).repeat(10, 1)
    centres = cluster(points, 6, torch.Generator().manual_seed(0))
    assert torch.isfinite(centres).all()
    labels = assign(points, centres)
    assert len(labels.unique()) == 3
    assert [len(labels[k::3].unique()) for k in range(3)] == [1, 1, 1]
    # Each is near one of the points, where it can share that one's neighbours.
    assert float(torch.cdist(centres, torch.eye(3)).min(1).values.max()) < 0.1


def test_whitening_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(0, 1, (300, 6)) @ rng.normal(0, 1, (6, 6)) + 3
    ours = fit_whitening(torch.from_numpy(rows), 4)(torch.from_numpy(rows)).numpy()
    theirs = PCA(4, whiten=True).fit_transform(rows)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6)  # of either sign
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1)


def test_directions_that_hardly_vary_are_left_out() -> None:
    rows = torch.zeros(50, 5)
    rows[:, :2] = random_tensor(50, 2)
    assert fit_whitening(rows).directions.shape == (5, 2)


# --- features and their judgement -------------------------------------------------------------


def test_the_network_begins_as_the_features_of_attention() -> None:
    image = random_tensor(3, 120, 200)
    extractor = open_features("efficientnet-lite0", torch.device("cpu"))
    assert extractor is not None
    with torch.inference_mode():
        levels = Levels()(resize(image, INPUT_SIZE)[None])
    for ours, theirs in zip(levels, extractor(image), strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-4)


def test_positions_are_described_level_by_level() -> None:
    planes = (random_tensor(2, 3, 256, 256) * 255).byte()
    network = Levels()
    found = describe_all(network, planes, batch=1)
    with torch.inference_mode():
        levels = network(resize(planes.float() / 255, INPUT_SIZE))
    for ours, level in zip(found, levels, strict=True):
        lengths = level.norm(dim=1, keepdim=True)
        assert ours.shape == level.shape
        np.testing.assert_allclose(ours * lengths, level, atol=1e-4 * float(level.abs().max()))


def test_clusters_of_positions_have_centres_among_the_features_and_count_alike() -> None:
    features = torch.nn.functional.normalize(random_tensor(3, 5, 4, 6) - 0.5, dim=1)
    found = find_clusters(features, 6, torch.Generator().manual_seed(0))
    assert found.labels.shape == (3, 4, 6)
    counted = 0.0
    for k in range(6):
        mine = [
            features[n, :, row, column].numpy()
            for n, row, column in itertools.product(range(3), range(4), range(6))
            if found.labels[n, row, column] == k
        ]
        mean = np.mean(mine, axis=0)
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(found.centres[k], expected, atol=steps(32, 1.0))
        counted += len(mine) * float(found.weights[k])
        assert len(mine) * float(found.weights[k]) == pytest.approx(3 * 4 * 6 / 6)
    assert counted == pytest.approx(3 * 4 * 6)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_statistics_settle_by_a_share_on_those_of_the_images(share: float) -> None:
    """Of the first layer they follow from its own convolution; of all others they at least move."""
    planes = (random_tensor(3, 3, 224, 224) * 255).byte()
    network, embedded = Levels(), Levels()
    settle(network, planes, share)
    assert not any(module.training for module in network.modules())
    with torch.inference_mode():
        seen = embedded.stem[0](planes.float() / 255 * (255 / 128) - 127 / 128)
    expected = (1 - share) * embedded.stem[1].running_mean + share * seen.mean((0, 2, 3))
    np.testing.assert_allclose(network.stem[1].running_mean, expected, atol=1e-4)
    spread = (1 - share) * embedded.stem[1].running_var + share * seen.var((0, 2, 3))
    np.testing.assert_allclose(network.stem[1].running_var, spread, rtol=1e-3, atol=1e-5)
    ours, theirs = network.state_dict(), embedded.state_dict()
    moved = {name for name, value in ours.items() if not torch.equal(value, theirs[name])}
    statistics = {name for name in ours if "running" in name or "tracked" in name}
    assert moved <= statistics
    assert len(moved) > (100 if share else -1)


def test_raw_features_are_joined_as_they_are() -> None:
    fine, coarse = random_tensor(2, 6, 8), random_tensor(3, 3, 4)
    joined = fuse([fine, coarse], (6, 8), normalise=False)
    assert torch.equal(joined[:2], fine)
    np.testing.assert_allclose(joined[2:], resize(coarse, (6, 8)))


def test_separation_is_the_area_under_the_roc_curve_of_all_pairs() -> None:
    features = torch.nn.functional.normalize(random_tensor(4, 14, 17) - 0.5, dim=0)
    labels = torch.from_numpy(np.random.default_rng(6).integers(0, 3, (14, 17)))
    areas = []
    for down, right in OFFSETS:
        same, cosines = [], []
        for row, column in itertools.product(range(14), range(17)):
            there = (row + down, column + right)
            if there[0] < 14 and 0 <= there[1] < 17:
                same.append(bool(labels[row, column] == labels[there]))
                cosines.append(float(features[:, row, column] @ features[:, there[0], there[1]]))
        areas.append(roc_auc_score(same, cosines))
    assert separation(features, labels) == pytest.approx(np.mean(areas), abs=1e-3)


def test_separation_at_its_ends() -> None:
    labels = torch.zeros(20, 24, dtype=torch.int64)
    labels[:, 12:] = 1
    told = torch.stack([(labels == 0).float(), (labels == 1).float()])
    assert separation(told, labels) == 1.0
    assert separation(torch.ones(1, 20, 24), labels) == 0.5
    assert np.isnan(separation(told, torch.zeros_like(labels)))
