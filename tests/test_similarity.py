"""Similarity: the scores of scikit-learn, maps that are known, and a real cat that is found."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
from torch import nn

import iassa
from iassa.errors import BlackBoxError, InputError
from iassa.image import example_image
from rounding import steps

SIZE = (12, 16)
PROJECTION = np.random.default_rng(9).normal(size=(6, 5))


def pictures(count, seed=0, size=SIZE):
    return np.random.default_rng(seed).random((count, *size, 3), np.float32)


def embed(images):
    """Features (N, 5), with a sign, of what is in either half of an image of any size."""
    half = images.shape[2] // 2
    halves = [images[:, :, :half].mean((1, 2)), images[:, :, half:].mean((1, 2))]
    return np.concatenate(halves, axis=1) @ PROJECTION


finder = iassa.models.FunctionDetector(
    lambda images: [iassa.models.Detections([(2, 3, 9, 12)], class_scores=[[0.9]])] * len(images),
    name="f",
)
aimed = finder.aim(pictures(1)[0], [(2, 3, 9, 12)])


def files(folder, *names, size=SIZE):
    for seed, name in enumerate(names):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * pictures(1, seed, size)[0]).astype(np.uint8)).save(path)


def alone(array):
    return array[None].astype(np.float32)


# The scores.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 7])
def test_scores_are_those_of_scikit_learn(seed, count):
    queries, images = list(pictures(3, seed)), pictures(count, seed + 100)
    mine, its = embed(np.stack(queries)), embed(images)
    cosine = iassa.models.Similarity(queries, embed)(images)
    np.testing.assert_allclose(cosine, cosine_similarity(its, mine), rtol=1e-5, atol=steps(8, 1.0))
    far = iassa.models.Similarity(queries, embed, measure="euclidean")(images)
    tolerance = steps(8, its, mine)  # features are subtracted
    np.testing.assert_allclose(far, -euclidean_distances(its, mine), rtol=1e-5, atol=tolerance)
    assert cosine.shape == (count, 3)


@given(exponent=st.integers(-150, 37), seed=st.integers(0, 99))
def test_cosine_does_not_depend_on_the_size_of_features(exponent, seed):
    images, query = pictures(4, seed), pictures(1, seed + 1)[0]
    plain = iassa.models.Similarity(query, embed)(images)
    scaled = iassa.models.Similarity(query, lambda shown: embed(shown) * 10.0**exponent)(images)
    np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=steps(8, 1.0))
    assert np.abs(plain).max() <= 1 + steps(8, 1.0)


def test_batches_do_not_matter():
    images = pictures(7)
    for measure in ("cosine", "euclidean"):
        like = iassa.models.Similarity(list(pictures(2, 5)), embed, measure=measure)
        parts = [like(images[:1]), like(images[1:3]), like(images[3:])]
        whole = like(images)
        tolerance = steps(4, embed(images), whole)
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize(("measure", "most"), [("cosine", 1.0), ("euclidean", 0.0)])
def test_an_image_is_most_like_itself(measure, most):
    image = pictures(1)[0]
    like = iassa.models.Similarity([image, pictures(1, 1)[0]], embed, measure=measure)
    explanation = iassa.explain(image, like, method="rise", calls=60)
    assert explanation.scores[0] == pytest.approx(most, abs=steps(16, 1.0, dtype=np.float64))
    assert explanation.targets[0].indices == (0,)
    highest = max(one.score_high[0] for one in explanation.rounds)
    assert highest <= most + steps(16, 1.0, dtype=np.float64)


def test_queries_are_seen_as_images_are():
    """At the size that the embedder looks at, or, if it takes any, at their own."""
    wide, image = pictures(1, 3, (9, 30))[0], pictures(1)[0]
    like = iassa.models.Similarity(wide, embed)
    assert like.input_size is None
    expected = cosine_similarity(embed(image[None]), embed(wide[None]))
    np.testing.assert_allclose(like(image[None]), expected, rtol=1e-5)
    sized = iassa.models.FunctionModel(embed, input_size=(8, 10))
    like = iassa.models.Similarity(wide, sized)
    assert like.input_size == (8, 10)
    assert like(wide[None])[0, 0] == pytest.approx(1, abs=steps(8, 1.0))


def test_a_torch_module_gives_features():
    class Features(nn.Module):
        def forward(self, planes):
            return torch.cat([planes.mean((2, 3)), planes.amax((2, 3))], dim=1)

    def in_numpy(images):
        return np.concatenate([images.mean((1, 2)), images.max((1, 2))], axis=1)

    queries, images = list(pictures(2, 8)), pictures(4)
    mine = iassa.models.Similarity(queries, Features(), device="cpu")(images)
    np.testing.assert_allclose(mine, iassa.models.Similarity(queries, in_numpy)(images), rtol=1e-5)


def test_an_output_of_an_onnx_file_gives_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nodes = [
        helper.make_node("ReduceMean", ["planes"], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node("Softmax", ["features"], ["scores"], axis=1),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (
            ("planes", ("n", 3, *SIZE)),
            ("features", ("n", 3)),
            ("scores", ("n", 3)),
        )
    ]
    made = helper.make_graph(nodes, "network", values[:1], values[1:])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=8), "net.onnx")
    queries, images = list(pictures(2, 8)), pictures(4)
    box = "net.onnx?output_name=features&softmax=no&range=0-1"
    expected = iassa.models.Similarity(queries, lambda images: images.mean((1, 2)))(images)
    np.testing.assert_allclose(iassa.models.Similarity(queries, box)(images), expected, rtol=1e-5)


# The maps.


def bright(images):
    """What is in a patch: linear in the pixels, from 0 to 1."""
    return images[:, 2:7, 9:14].mean((1, 2, 3), dtype=np.float64)


ORACLES = {
    # At the angle arccos(bright) from the query, whose own angle is 0.
    "cosine": lambda images: np.stack([bright(images), np.sqrt(1 - bright(images) ** 2)], 1),
    # On a line, below the query at 1: minus the distance is bright - 1.
    "euclidean": lambda images: bright(images)[:, None],
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("measure", ORACLES)
@pytest.mark.parametrize(
    "method", [iassa.methods.Rise(debiased=True), iassa.methods.Iassa(features="none")]
)
def test_the_map_is_that_of_the_score_which_the_similarity_is(method, measure, seed):
    image = 0.6 + 0.4 * pictures(1, seed)[0]  # lighter than what hides it
    like = iassa.models.Similarity(np.ones(image.shape), ORACLES[measure], measure=measure)
    mine = iassa.explain(image, like, method=method, calls=300, seed=seed)
    its = iassa.explain(
        image, lambda images: bright(images)[:, None], method=method, calls=300, seed=seed
    )
    np.testing.assert_allclose(mine.saliency, its.saliency, atol=steps(8, 1.0))
    np.testing.assert_allclose(mine.standard_error, its.standard_error, atol=steps(8, 1.0))
    inside = np.zeros(SIZE, bool)
    inside[2:7, 9:14] = True
    assert mine.saliency[0][inside].mean() > 3 * abs(mine.saliency[0][~inside].mean())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("measure", ORACLES)
def test_what_windows_cost_is_what_they_hide(measure, seed):
    """The light of a window's share of the patch, of each pixel's windows the mean: by hand."""
    image = pictures(1, seed)[0]
    like = iassa.models.Similarity(np.ones(image.shape), ORACLES[measure], measure=measure)
    method = iassa.methods.Occlusion(window=90, stride=45, baseline="zero")
    found = iassa.explain(image, like, method=method, calls=100)
    light = np.zeros(SIZE)
    light[2:7, 9:14] = image[2:7, 9:14].mean(axis=2) / 25
    total, count = np.zeros(SIZE), np.zeros(SIZE)
    for top, left, bottom, right in found.evidence.rounds[0].families["window"].plan.windows:
        total[top:bottom, left:right] += light[top:bottom, left:right].sum()
        count[top:bottom, left:right] += 1
    assert count.min() > 0
    np.testing.assert_allclose(found.saliency[0], total / count, atol=steps(16, found.scores))


@pytest.mark.parametrize("measure", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    "method",
    [
        iassa.methods.Rise(),
        iassa.methods.Occlusion(),
        iassa.methods.Iassa(features="none", max_rounds=1),
    ],
)
def test_several_queries_have_the_maps_of_each_alone(method, measure):
    image, queries = pictures(1, 50)[0], list(pictures(3, 60))
    options = {"calls": 100, "seed": 4, "batch_size": 16}
    together = iassa.models.Similarity(queries, embed, measure=measure)
    all_maps = iassa.explain(image, together, method=method, target=range(3), **options)
    for k, query in enumerate(queries):
        single = iassa.models.Similarity(query, embed, measure=measure)
        mine = iassa.explain(image, single, method=method, **options)
        np.testing.assert_allclose(
            all_maps.saliency[k], mine.saliency[0], rtol=1e-5, atol=steps(2, mine.scores)
        )
        assert all_maps.scores[k] == mine.scores[0]
        assert mine.calls == all_maps.calls  # for the price of one


def test_a_cat_in_another_picture_is_what_makes_it_like_a_cat():
    """A cat's face beside a cup of coffee, compared with a picture of the cat and with the cup."""
    cat, scene = example_image("cat"), example_image("coffee")
    face = Image.fromarray((255 * cat[20:280, 120:350]).round().astype(np.uint8))
    scene[20:190, 420:570] = np.asarray(face.resize((150, 170)), np.float32) / 255
    inside = np.zeros(scene.shape[:2], bool)
    inside[20:190, 420:570] = True
    like = iassa.models.Similarity({"cat": cat, "coffee": "example:coffee"}, device="cpu")
    found = iassa.explain(scene, like, target=["cat", "coffee"], calls=300)
    to_cat, to_coffee = found.enlarge(found.saliency)
    # Of 300 calls: 0.057 and -0.003; 78 % of what is positive is in a tenth of the picture.
    assert to_cat[inside].mean() > 10 * abs(to_cat[~inside].mean())
    assert np.maximum(to_cat, 0)[inside].sum() > 0.6 * np.maximum(to_cat, 0).sum()
    assert inside.flat[to_cat.argmax()]
    # It is a coffee in spite of the cat.
    assert to_coffee[inside].mean() < 0 < to_coffee[~inside].mean()


# Names and identity.


def test_names_of_queries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files(tmp_path, "a/cat.png", "b/cat.png", "b/dog, wet.png")
    paths = ["a/cat.png", Path("b/cat.png"), "b/dog, wet.png", pictures(1)[0]]
    like = iassa.models.Similarity(paths, embed)
    assert like.class_names == ("a/cat.png", "b/cat.png", "dog, wet.png", "query 3")
    listed = "a/cat.png, b/cat.png, b/dog, wet.png and 1 more"
    assert like.name == f"embed compared by cosine with {listed}"
    given_names = iassa.models.Similarity({"x/y": paths[0], "z": paths[1]}, embed)
    assert given_names.class_names == ("x/y", "z")
    assert iassa.models.Similarity("example:cat", embed).class_names == ("example:cat",)
    wanted = ["dog, wet.png", "a/cat.png vs b/cat.png", "query 3"]
    found = iassa.explain("a/cat.png", like, target=wanted, method="rise", calls=40)
    assert [target.indices for target in found.targets] == [(2,), (0, 1), (3,)]


def test_names_that_are_no_utf8(tmp_path):
    files(tmp_path, "cat.png")
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    os.rename(os.fsencode(tmp_path / "cat.png"), path)  # noqa: PTH104
    like = iassa.models.Similarity(os.fsdecode(path), embed)
    found = iassa.explain(pictures(1)[0], like, method="rise", calls=40)
    assert [one.name for one in iassa.Explanation.load(found.save(tmp_path / "o")).targets] == [
        "caf?.png"
    ]


def test_the_same_query_in_other_forms(tmp_path):
    files(tmp_path, "cat.png")
    with Image.open(tmp_path / "cat.png") as picture:
        picture.load()
    pixels = np.asarray(picture)
    forms = [tmp_path / "cat.png", str(tmp_path / "cat.png"), picture, pixels, [pixels]]
    found = {iassa.models.Similarity(form, embed).identity() for form in forms}
    found.add(iassa.models.Similarity(pixels / np.float32(255), embed).identity())
    assert len(found) == 1


def test_what_makes_another_black_box():
    one, other = pictures(2)
    wide = iassa.models.FunctionModel(lambda images: images.mean((1, 2)), name="wide")
    boxes = [
        iassa.models.Similarity(one, embed),
        iassa.models.Similarity(one, embed, measure="euclidean"),
        iassa.models.Similarity(other, embed),
        iassa.models.Similarity([one, other], embed),
        iassa.models.Similarity([other, one], embed),
        iassa.models.Similarity(one.reshape(16, 12, 3), embed),
        iassa.models.Similarity(one, wide),
    ]
    identities = [box.identity() for box in boxes]
    assert len(set(identities)) == len(boxes)
    assert iassa.models.Similarity({"name": one}, embed).identity() == identities[0]
    assert identities[1].startswith("euclidean to ")
    assert identities[-1].endswith(" by " + wide.identity())


def test_it_is_continued_with_the_same_queries_only(tmp_path):
    image, (one, other) = pictures(1, 7)[0], pictures(2)
    like = iassa.models.Similarity([one, other], embed)
    options = {"target": range(2), "method": "rise", "seed": 1}
    part = iassa.explain(image, like, calls=60, **options).save(tmp_path / "part")
    whole = iassa.explain(image, like, calls=100, **options)
    more = iassa.extend(
        iassa.Explanation.load(part), iassa.models.Similarity([one, other], embed), calls=40
    )
    np.testing.assert_array_equal(more.saliency, whole.saliency)
    for wrong in ([other, one], [one]):
        with pytest.raises(InputError, match="expected the black box that was asked before"):
            iassa.extend(more, iassa.models.Similarity(wrong, embed), calls=40)
    swapped = iassa.retarget(more, "query 1 vs query 0")
    np.testing.assert_allclose(
        swapped.saliency[0],
        more.saliency[1] - more.saliency[0],
        rtol=1e-4,
        atol=steps(8, more.saliency),
    )


@pytest.mark.parametrize("embedder", [embed, "efficientnet-lite0-features"])
def test_it_can_be_sent_to_another_process(embedder):
    like = iassa.models.Similarity(list(pictures(2)), embedder, measure="euclidean")
    again = pickle.loads(pickle.dumps(like))
    np.testing.assert_array_equal(again(pictures(3, 5)), like(pictures(3, 5)))
    assert (again.identity(), again.class_names) == (like.identity(), like.class_names)


# What is refused.


def black(images):
    return images.mean((1, 2))  # zero for an image without light


def test_a_query_without_an_angle():
    dark = {"light": np.ones((*SIZE, 3)), "dark": np.zeros((*SIZE, 3))}
    message = "expected features with an angle, got all zero for dark from black. Measure euclidean"
    with pytest.raises(InputError, match=message):
        iassa.models.Similarity(dark, black)
    expected = [[0, -(3**0.5)]]
    found = iassa.models.Similarity(dark, black, measure="euclidean")(alone(dark["light"]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_masked_image_without_an_angle():
    """All light is in one place: once it is hidden by black there is none."""

    def light(images):
        return np.stack([images[:, :, :8].mean((1, 2, 3)), images[:, :, 8:].mean((1, 2, 3))], 1)

    image = np.zeros((*SIZE, 3), np.float32)
    image[5, 7] = 1
    like = iassa.models.Similarity(np.ones((*SIZE, 3)), light)
    with pytest.raises(BlackBoxError, match=r"got all zero for \d+ of 16 images") as fault:
        iassa.explain(image, like, method=iassa.methods.Rise(baseline="zero"), calls=60)
    assert str(fault.value).endswith("Measure euclidean, or hide by another baseline.")
    assert np.isfinite(iassa.explain(image, like, method="rise", calls=60).saliency).all()


def test_features_whose_number_changes():
    rows = {12: lambda images: images.mean((1, 2)), 9: lambda images: images.mean((1, 3))}

    def moody(images):
        return rows[images.shape[1]](images)

    with pytest.raises(BlackBoxError, match="expected 3 scores for each image, got 12 from"):
        iassa.models.Similarity([pictures(1)[0], pictures(1, 0, (9, 12))[0]], moody)
    like = iassa.models.Similarity(pictures(1)[0], moody)
    with pytest.raises(BlackBoxError, match="expected 3 scores for each image, got 12 from"):
        like(pictures(2, 0, (9, 12)))


@pytest.mark.parametrize(
    ("embedder", "message"),
    [
        (lambda images: images.transpose(0, 3, 1, 2), r"got \(1, 3, 12, 16\) .*docs/targets.md"),
        (lambda images: images.mean((0, 1, 2)), r"got \(3,\) .* one column for each class\."),
        (lambda images: np.full((len(images), 2), np.nan), "NaN or infinity for 1 of 1"),
        (lambda images: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_embedders_at_fault(embedder, message):
    with pytest.raises(BlackBoxError, match=message):
        iassa.models.Similarity(pictures(1)[0], embedder)


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        ([], {}, "expected images to compare with, each once, got none"),
        ({}, {}, "expected images to compare with, each once, got none"),
        (["a.png", "b.png", "a.png"], {}, "each once, got a.png twice"),
        ({"": pictures(1)[0]}, {}, "each once, got one without a name"),
        ("none.png", {}, "no such image: none.png"),
        (["example:dog"], {}, "dog"),
        (pictures(2), {}, r"expected an image \(H, W, 3\) or \(H, W\), got shape \(2, 12, 16, 3\)"),
        ([None], {}, "expected an image"),
        (pictures(1)[0], {"measure": "angle"}, "expected measure cosine or euclidean, got 'angle'"),
        (pictures(1)[0], {"embedder": "resnet"}, "unknown model 'resnet'"),
        (pictures(1)[0], {"embedder": 3}, "expected a black box, got int"),
        (
            pictures(1)[0],
            {"embedder": finder},
            "a black box of feature vectors, got the detector f",
        ),
        (pictures(1)[0], {"embedder": aimed}, "a black box of feature vectors, got the detector f"),
        (pictures(1)[0], {"device": "banana"}, "expected a device that is here"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_arguments(queries, options, message):
    with pytest.raises(InputError, match=message):
        iassa.models.Similarity(queries, **{"embedder": embed, **options})
