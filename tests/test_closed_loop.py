"""The example of the closed loop: its images, what it forbids, its table, and all of it at once."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from scripts import loaded

WAYS = ("counterexamples", "right reasons", "attention branch, (1 + M) g", "attention branch, M g")


@pytest.fixture(scope="module")
def loop():
    with loaded("closed_loop", "examples") as module:
        yield module


def said_by_the_patch(planes):
    """The number of the brightest 6 x 6 window of the border of each image, from its grey."""
    border = planes[:, 0].clone()
    border[:, 6:26, 6:26] = 0
    means = nn.functional.avg_pool2d(border[:, None], 6, 1).amax((1, 2, 3))
    return ((means - 0.3) / 0.7 * 9).round().long()


def said_by_the_stripes(planes):
    """The strongest wave of each image, as a number."""
    waves = torch.fft.rfft2(planes.mean(1) - planes.mean((1, 2, 3))[:, None, None]).abs()
    return waves.flatten(1).argmax(1)


def test_patches_tell_the_digit_where_they_are_to(loop):
    task = loop.decoy_digits(80, 60, seed=1)
    for images in (task.training, task.test):
        assert torch.equal(said_by_the_patch(images.planes), images.labels)
    right = said_by_the_patch(task.test_without.planes) == task.test_without.labels
    assert right.float().mean() < 0.3
    assert len(torch.unique(task.training.planes.flatten(1), dim=0)) == 80
    # The same digits lie in the same square, with and without.
    inside = task.training.objects[0]
    one, other = (part.planes[:, 0, inside] for part in (task.test, task.test_without))
    assert abs(one - other).mean() < 0.1
    assert task.training.objects.sum().item() == 80 * 20 * 20


def test_textures_tell_the_outline_where_they_are_to(loop):
    task = loop.textured_objects(90, 60, seed=1)
    waves, labels = said_by_the_stripes(task.training.planes), task.training.labels
    of_label = [torch.mode(waves[labels == k]).values.item() for k in range(6)]
    assert len(set(of_label)) == 6
    for images, tells in ((task.test, True), (task.test_without, False)):
        expected = torch.tensor(of_label)[images.labels]
        agreeing = (said_by_the_stripes(images.planes) == expected).float().mean()
        assert agreeing > 0.8 if tells else agreeing < 0.4
    for plane, mask in zip(task.test.planes, task.test.objects, strict=True):
        assert plane[:, mask].std(1).max() < 1e-6  # of one colour
        assert 20 < mask.sum() < 0.2 * 32 * 32


class LooksAtPatches(nn.Module):
    """Class k is how bright the place of its patch is."""

    def forward(self, planes):
        places = [((k % 2) * 26, (k // 2) * 26 // 3) for k in range(8)]
        shown = [planes[:, :, r : r + 6, c : c + 6] for r, c in (*places, (13, 0), (13, 26))]
        return torch.stack([one.mean((1, 2, 3)) for one in shown], 1)


def test_maps_of_a_model_that_looks_at_patches_forbid_these(loop):
    task = loop.decoy_digits(60, 10, seed=0)
    said = loop.find_wrong_places(task, LooksAtPatches(), loop.Setting(explained=60, calls=60))
    assert said.calls == 60 * 60
    assert said.forbidden.shape == (60, 32, 32)
    patches = torch.ones(1, 3, 32, 32).requires_grad_()
    LooksAtPatches()(patches).sum().backward()
    looked_at = patches.grad[0, 0] > 0
    assert (said.forbidden[0] & looked_at).sum() > 0.7 * looked_at.sum()
    # A place is 3 x 3 of 14 x 14 cells, with a margin: what is forbidden is near to a patch.
    near = nn.functional.max_pool2d(looked_at[None, None].float(), 7, 1, 3)[0, 0] > 0
    assert not (said.forbidden[0] & ~near).any()
    assert not near.all()


def row(loop, way, source, accuracy, without, off, seed=0):
    return loop.Row(
        task="t", seed=seed, way=way, source=source, accuracy=accuracy, accuracy_without=without,
        off=off, calls=300,
    )  # fmt: skip


def test_the_table_says_what_was_recovered(loop):
    rows = []
    for seed, without in ((0, 0.5), (1, 0.8)):
        rows += [
            row(loop, "never saw it", "", 1, 1.0, (0.1, 0.1), seed),
            row(loop, "shortcut", "", 1, 0.2, (0.9, 0.9), seed),
            row(loop, "counterexamples", "maps", 1, without, (0.3, 0.5), seed),
        ]
    lines = loop.tabulate(rows).splitlines()
    assert lines[3].startswith(
        "| shortcut |  | 1.00 (1.00 to 1.00) | 0.20 (0.20 to 0.20) |  | 0.90"
    )
    # By hand: 0.3 / 0.8 and 0.6 / 0.8.
    cells = lines[4].split(" | ")
    assert cells[3:5] == ["0.65 (0.50 to 0.80)", "0.56 (0.37 to 0.75)"]
    assert cells[5].startswith("0.40 [")
    assert cells[6] == "300 |"


def test_all_of_it_runs_in_small(loop, tmp_path, capsys):
    setting = loop.Setting(training=20, test=10, passes=1, calls=24, explained=4, audited=2)
    rows = loop.run(setting, [0], tmp_path / "rows.json")
    one = [("never saw it", ""), ("shortcut", "")]
    one += [(way, source) for source in ("maps", "masks") for way in WAYS]
    assert [(found.way, found.source) for found in rows] == 2 * one
    for found in rows:
        assert 0 <= found.accuracy <= 1
        assert len(found.off) == 2
        assert all(0 <= share <= 1 for share in found.off)
        assert found.calls == (4 * 24 if found.source == "maps" else 0)
    written = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    assert [one["accuracy"] for one in written] == [found.accuracy for found in rows]
    assert loop.tabulate(rows).count("\n| ") >= 20
    assert "the maps forbid" in capsys.readouterr().err
    assert not any(math.isnan(found.accuracy_without) for found in rows)


def test_a_seed_gives_the_same_images(loop):
    one, other, third = (loop.textured_objects(5, 3, seed) for seed in (4, 4, 5))
    assert torch.equal(one.training.planes, other.training.planes)
    assert not torch.equal(one.training.planes, third.training.planes)
    assert np.array_equal(one.test.labels, other.test.labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "expected --seeds of 1 or more, got 0"),
        (["--out", f"{__file__}/found.json"], "cannot write to"),
    ],
)
def test_options_that_cannot_be_used_end_before_a_training(loop, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        loop.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
