"""Counterexamples: what stays, what changes, and that neither order nor workers matter."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, TensorDataset

import iassa
from iassa.training import Counterexamples

N, H, W = 5, 12, 16
FILLS = ("backgrounds", "noise", "shuffled")


def planes(channels=3, dtype=torch.float32, seed=0):
    values = torch.rand(N, channels, H, W, generator=torch.Generator().manual_seed(seed))
    return (values * 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def masks():
    """Another box of each image counts."""
    found = np.zeros((N, H, W), bool)
    for k in range(N):
        found[k, k : k + 5, 2 * k : 2 * k + 7] = True
    return found


def labelled(images):
    return TensorDataset(images, torch.arange(N))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_what_counts_stays_and_the_rest_changes(fill, channels, dtype):
    images, relevant = planes(channels, dtype), masks()
    made = Counterexamples(labelled(images), relevant, fill=fill)
    assert len(made) == N
    for k in range(N):
        image, label = made[k]
        assert (image.shape, image.dtype, int(label)) == ((channels, H, W), dtype, k)
        changed = (image != images[k]).any(0).numpy()
        assert not changed[relevant[k]].any()
        assert changed[~relevant[k]].mean() > 0.9


@pytest.mark.parametrize("fill", FILLS)
def test_an_array_is_the_tensor_in_another_layout(fill):
    tensors = planes()
    arrays = [(image.permute(1, 2, 0).numpy(), k, "more") for k, image in enumerate(tensors)]
    one = Counterexamples(labelled(tensors), masks(), fill=fill, seed=3)
    other = Counterexamples(arrays, torch.from_numpy(masks()), fill=fill, seed=3)
    for k in range(N):
        image, label, more = other[k]
        assert (image.shape, label, more) == ((H, W, 3), k, "more")
        assert np.array_equal(image, one[k][0].permute(1, 2, 0).numpy())


def test_a_grey_array_stays_one():
    grey = [(np.random.default_rng(k).random((H, W)), k) for k in range(N)]
    assert Counterexamples(grey, masks())[1][0].shape == (H, W)


def test_shuffled_pixels_are_those_of_the_image():
    images, relevant = planes(), masks()
    image, _ = Counterexamples(labelled(images), relevant, fill="shuffled")[2]
    before, after = (one[:, ~relevant[2]].T.tolist() for one in (images[2], image))
    assert sorted(before) == sorted(after)
    assert before != after


def test_noise_has_the_range_of_each_channel():
    images = planes() * torch.tensor([1.0, 0.1, 10.0])[:, None, None] - 5
    images[0, :, 0, 0] += 0.5  # each channel's largest value may be anywhere
    image, _ = Counterexamples(labelled(images), masks(), fill="noise")[0]
    for new, old in zip(image, images[0], strict=True):
        low, high = old.min(), old.max()
        assert low <= new.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < new.max() <= high


def test_whole_numbers_of_noise_are_all_drawn():
    images = torch.randint(3, (N, 1, 40, 50), generator=torch.Generator().manual_seed(0)).byte()
    relevant = np.zeros((N, 40, 50), bool)
    relevant[:, 0, 0] = True
    image, _ = Counterexamples(labelled(images), relevant, fill="noise")[0]
    counts = torch.bincount(image.ravel())
    assert len(counts) == 3
    assert (abs(counts / image.numel() - 1 / 3) < 0.05).all()  # of 2000: four standard errors


def test_a_background_is_that_of_one_other_image():
    # The value of a pixel says of which image it is, and of what part: 10 k where it counts.
    relevant = masks()
    images = np.where(relevant, 10.0 * np.arange(N)[:, None, None], np.arange(N)[:, None, None])
    images = torch.from_numpy(images + 0.5)[:, None]
    made = Counterexamples(labelled(images), relevant, copies=40, seed=1)
    donors = {k: set() for k in range(N)}
    for index in range(len(made)):
        k = index % N
        (donor,) = np.unique(made[index][0][0].numpy()[~relevant[k]]) - 0.5
        donors[k].add(int(donor))
    assert donors == {k: set(range(N)) - {k} for k in range(N)}


def test_a_background_lies_where_it_lay():
    images, relevant = planes(), masks()
    image, _ = Counterexamples(labelled(images), relevant)[0]
    free = ~relevant[0]
    lying = [
        (image[:, free & ~relevant[k]] == images[k][:, free & ~relevant[k]]).all()
        for k in range(1, N)
    ]
    assert sum(map(bool, lying)) == 1


def test_order_workers_and_global_generators_do_not_matter():
    made = Counterexamples(labelled(planes()), masks(), copies=3, seed=7)
    first = [made[k][0] for k in range(len(made))]
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - that it does not matter is the point
    backwards = [made[k][0] for k in reversed(range(len(made)))][::-1]
    loaded = [image for images, _ in DataLoader(made, 4, num_workers=2) for image in images]
    for one, other, third in zip(first, backwards, loaded, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


def test_copies_and_seeds_differ():
    made = Counterexamples(labelled(planes()), masks(), fill="noise", copies=2)
    other = Counterexamples(labelled(planes()), masks(), fill="noise", seed=1)
    assert not torch.equal(made[0][0], made[N][0])
    assert not torch.equal(made[0][0], other[0][0])
    assert made[N][1] == 0


def test_it_ends_and_goes_beside_the_originals():
    dataset = labelled(planes())
    made = Counterexamples(dataset, masks())
    assert len(list(made)) == N
    assert len(ConcatDataset([dataset, made])) == 2 * N
    with pytest.raises(IndexError, match="from 0 to "):
        made[N]


def test_an_image_of_which_all_counts_stays_as_it_is_and_lends_nothing():
    images, relevant = planes(), masks()
    relevant[0] = True
    made = Counterexamples(labelled(images), relevant, copies=30)
    assert torch.equal(made[0][0], images[0])
    free = ~relevant[1]
    lent = images[0][:, free]
    assert not any((made[1 + N * k][0][:, free] == lent).all() for k in range(30))


def test_regions_of_saved_explanations_are_masks(tmp_path):
    image = np.full((H, W, 3), 0.2, np.float32)
    image[2:7, 3:9] = 1

    def patch(images):
        return images[:, 2:7, 3:9].mean(axis=(1, 2, 3))[:, None]

    iassa.explain(image, patch, method="rise", calls=200).save(tmp_path / "one")
    region = iassa.Explanation.load(tmp_path / "one").region(share=0.3)
    made = Counterexamples([(image, 0)] * 2, [region] * 2, fill="noise")
    changed = (made[0][0] != image).any(2)
    assert not changed[region].any()
    assert changed[~region].all()


def refused(message, dataset, relevant, **options):
    with pytest.raises(iassa.InputError, match=re.escape(message)) as caught:
        for _ in Counterexamples(dataset, relevant, **options):
            pass
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_refused():
    dataset, relevant = labelled(planes()), masks()
    refused("got 4 masks for 5 images", dataset, relevant[:4])
    refused("expected masks with a length and places, got NoneType", dataset, None)
    refused("got generator. Put them into a list", dataset, (mask for mask in relevant))
    refused("got 12 x 15 (height x width)", dataset, relevant[:, :, 1:])
    refused("got (12, 16) of float64 at 0", dataset, relevant.astype(float))
    refused("got (12, 16, 1) of bool", dataset, relevant[..., None])
    refused("expected fill to be", dataset, relevant, fill="grey")
    refused("expected copies to be", dataset, relevant, copies=0)
    refused("expected seed to be", dataset, relevant, seed=-1)
    relevant[3] = False
    refused("expected a part that counts in each image, got none at 3", dataset, relevant)


def test_datasets_that_cannot_be_used_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(labelled(planes()))

    refused("a dataset with a length and places, got Stream", Stream(), masks())
    refused("expected items (image, label)", planes(), masks())
    refused("got 0 masks for 0 images", [], [])
    refused("got str at 0", [("a.png", 0)] * N, masks())
    refused("got Tensor (12, 16) of torch.float32 at 0", labelled(planes()[:, 0]), masks())
    refused("got Tensor (3, 12, 16) of torch.bfloat16", labelled(planes().bfloat16()), masks())
    for odd in ({0: (planes()[0], 0)}, "photos", np.array("photos"), 5):
        kind = type(odd).__name__
        refused(f"a dataset with a length and places, got {kind}", odd, masks())
        refused(f"masks with a length and places, got {kind}", labelled(planes()), odd)


def test_an_image_of_another_size_is_refused_when_it_is_taken():
    images, relevant = list(planes()), masks()
    images[3] = images[3][:, :10]
    made = Counterexamples([(image, k) for k, image in enumerate(images)], relevant, fill="noise")
    assert [made[k][1] for k in (0, 1, 2, 4)] == [0, 1, 2, 4]
    wanted = "expected a mask of 10 x 16 (height x width), the size of the image at 3, got 12 x 16"
    with pytest.raises(iassa.InputError, match=re.escape(wanted)):
        made[3]
    # As a background of another image it is refused as well, by its own place.
    lent = Counterexamples(made.dataset, relevant, copies=40)
    with pytest.raises(iassa.InputError, match=re.escape(wanted)):
        [lent[copy * N] for copy in range(40)]


def test_backgrounds_that_do_not_exist_are_refused():
    images, relevant = planes(), masks()
    refused("got none beside 0. Use fill='noise'", [(images[0], 0)], relevant[:1])
    of_two_sizes = [(images[0], 0), (images[1, :, :8], 1)]
    message = "expected images of one shape for backgrounds"
    refused(message, of_two_sizes, [relevant[0], relevant[1, :8]])
