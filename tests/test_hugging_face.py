"""Models of Hugging Face: small ones, saved to disk, against transformers' own steps."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BertConfig,
    BertModel,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DetrConfig,
    EfficientNetImageProcessor,
    ImageGPTImageProcessor,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    MobileViTImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

import iassa
from hub_server import COMMIT, hub
from iassa.benchmark.selection import ScoreImage
from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.tasks import Model
from iassa.cli import main
from iassa.errors import InputError
from iassa.image import decode_image, resize
from iassa.models.hugging_face.classifier import HuggingFaceModel
from iassa.models.opening import add_conventions, open_model
from made_runs import contents
from rounding import steps

SIZE = (24, 32)
NAMES = {0: "tabby, tabby cat", 1: "dog", 2: "espresso", 3: "LABEL_3", 4: "bird"}
COLOURS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.fixture(autouse=True, scope="module")
def no_notes():
    """No bars and notes on what the oracles do."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(level)
    logging.enable_progress_bar()


def vit(**options):
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=SIZE,
            patch_size=8,
            initializer_range=0.5,
            **({"id2label": NAMES} | options),
        )
    )


def resnet(**options):
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16],
            depths=[1, 1],
            layer_type="basic",
            **({"id2label": NAMES} | options),
        )
    )


def mobilenet():
    return MobileNetV2ForImageClassification(
        MobileNetV2Config(depth_multiplier=0.25, id2label=NAMES, finegrained_output=False)
    )


def whole(**options):
    return ViTImageProcessor(size={"height": SIZE[0], "width": SIZE[1]}, **COLOURS, **options)


MODELS = {
    "vit": (vit, whole),
    "resnet": (resnet, lambda: whole(resample=3)),
    "resnet of 384": (resnet, lambda: ConvNextImageProcessor(size={"shortest_edge": 384})),
    "mobilenet": (
        mobilenet,
        lambda: EfficientNetImageProcessor(size={"height": 64, "width": 48}, **COLOURS),
    ),
    "blue first": (
        resnet,
        lambda: MobileViTImageProcessor(
            size={"height": 64, "width": 96}, do_center_crop=False, do_flip_channel_order=True
        ),
    ),
    "several labels": (lambda: vit(problem_type="multi_label_classification"), whole),
    "one label": (lambda: resnet(num_labels=1, id2label={0: "cat"}), whole),
    "regression": (
        lambda: resnet(num_labels=1, id2label={0: "age"}, problem_type="regression"),
        whole,
    ),
}


def save(folder: Path, model, processor, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    made = model().train()
    with torch.no_grad():
        for weight in made.parameters():  # so that pictures make a difference
            if weight.ndim > 1:
                weight.normal_(0, 1.5 * weight[0].numel() ** -0.5)
        for _ in range(20):  # for the statistics of batch norm
            made(
                torch.randn(
                    8, 3, *(SIZE if isinstance(made, ViTForImageClassification) else (64, 64))
                )
            )
    made.save_pretrained(folder)
    if processor is not None:
        processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder of each kind of model, made when it is first asked for."""
    made: dict[str, Path] = {}

    def folder(kind):
        if kind not in made:
            made[kind] = save(tmp_path_factory.mktemp("models") / kind, *MODELS[kind])
        return made[kind]

    return folder


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of the small ViT, to be spoilt."""
    return shutil.copytree(folders("vit"), tmp_path / "copy")


def noise(size, seed=0, count=3):
    """Images in three colours and contrasts, (count, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    colours, contrasts = rng.random((count, 1, 1, 3)), rng.random((count, 1, 1, 1))
    images = colours + contrasts * (rng.random((count, *size, 3)) - colours)
    return (255 * images).round().astype(np.uint8)


def oracle(folder, images):
    """Scores (N, K) by transformers alone, with its processor, as its pipeline makes them."""
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**processor(list(images), return_tensors="pt")).logits
    if model.config.problem_type == "regression":
        return logits.numpy()
    if model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1:
        return logits.sigmoid().numpy()
    return logits.softmax(1).numpy()


def scores(black_box, images):
    return black_box(images.astype(np.float32) / 255)


# --- the same scores --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_transformers(folders, kind, seed):
    """On noise of the size that the model looks at, where no filter has a say."""
    black_box = open_model(f"hf:{folders(kind)}", "cpu")
    images = noise(black_box.input_size, seed)
    expected = oracle(folders(kind), images)
    np.testing.assert_allclose(
        scores(black_box, images), expected, rtol=1e-4, atol=steps(64, expected)
    )
    assert np.ptp(expected, axis=0).max() > 0.01


@pytest.mark.parametrize("kind", ["vit", "blue first", "several labels", "one label"])
def test_a_pipeline_or_a_pair_is_a_black_box(folders, kind):
    """Against the pipeline's own answers, of images of the size that the model looks at."""
    pipe = transformers.pipeline("image-classification", model=str(folders(kind)), device="cpu")
    black_box = open_model(pipe)
    images = noise(black_box.input_size)
    said = pipe([Image.fromarray(image) for image in images], top_k=None)
    expected = np.array(
        [
            [{one["label"]: one["score"] for one in row}[n] for n in black_box.class_names]
            for row in said
        ]
    )
    found = scores(black_box, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=steps(64, expected))
    pair = open_model((pipe.model, pipe.image_processor))
    np.testing.assert_array_equal(scores(pair, images), found)
    assert pair.identity() == black_box.identity() == open_model(f"hf:{folders(kind)}").identity()
    again = pickle.loads(pickle.dumps(black_box))
    np.testing.assert_array_equal(scores(again, images), found)
    explanation = iassa.explain(images[0], pipe, method="rise", calls=20)
    assert explanation.calls == 20


def test_what_is_no_classifier_s_pipeline_or_pair_is_refused(folders):
    pipe = transformers.pipeline("image-classification", model=str(folders("vit")), device="cpu")
    pipe.task = "image-to-text"
    with pytest.raises(InputError, match="expected a pipeline of the task image-classification"):
        open_model(pipe)
    for pair in ((pipe.model, None), (pipe.image_processor, pipe.model), (pipe.model,), ()):
        with pytest.raises(InputError, match="a model of transformers and its image processor"):
            open_model(pair)


def test_large_images_are_resized_as_its_processor_does(folders):
    """The same bilinear filter, but for Pillow's steps of 8 bits."""
    black_box = open_model(f"hf:{folders('vit')}", "cpu")
    images = noise((90, 70))
    np.testing.assert_allclose(scores(black_box, images), oracle(folders("vit"), images), atol=0.02)


def test_what_it_knows_of_itself(folders):
    black_box = open_model(f"hf:{folders('vit')}")
    assert black_box.name == "vit"
    assert black_box.input_size == SIZE
    assert black_box.class_names == tuple(NAMES.values())
    assert scores(black_box, noise((9, 8))).sum(1) == pytest.approx(1, rel=1e-5)
    assert "mean=0.485,0.456,0.406&std=0.229,0.224,0.225&bgr=no&softmax=yes" in black_box.identity()
    assert "bgr=yes" in open_model(f"hf:{folders('blue first')}").identity()


def test_weights_in_half_precision_run_in_float32(folders, tmp_path):
    shutil.copytree(folders("vit"), tmp_path, dirs_exist_ok=True)
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    model.half().save_pretrained(tmp_path)
    black_box = open_model(f"hf:{tmp_path}", "cpu")
    images = noise(SIZE)
    rounded = {name: value.float() for name, value in model.state_dict().items()}
    plain = AutoModelForImageClassification.from_pretrained(folders("vit"))
    plain.load_state_dict(rounded)
    planes = AutoImageProcessor.from_pretrained(tmp_path)(list(images), return_tensors="pt")
    with torch.no_grad():
        expected = plain(**planes).logits.softmax(1).numpy()
    np.testing.assert_allclose(scores(black_box, images), expected, rtol=1e-4)


# --- what is said in place of what it says ----------------------------------------------------


def test_what_is_said_counts(folders, tmp_path):
    folder = folders("resnet")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    images = noise((16, 20))
    options = ["input_size=16,20", "range=0-255", "mean=100,110,120", "std=50,60,70"]
    options += ["bgr=yes", "softmax=no", f"class_names={tmp_path / 'names.txt'}"]
    black_box = open_model(add_conventions(f"hf:{folder}", options), "cpu")
    assert black_box.class_names == tuple("abcde")
    assert black_box.input_size == (16, 20)
    network = AutoModelForImageClassification.from_pretrained(folder)
    seen = (images[..., ::-1].astype(np.float32) - [100, 110, 120]) / [50, 60, 70]
    with torch.no_grad():
        expected = network(torch.from_numpy(seen).permute(0, 3, 1, 2).float()).logits.numpy()
    np.testing.assert_allclose(
        scores(black_box, images), expected, rtol=1e-3, atol=steps(256, expected)
    )


def test_conventions_join_the_name():
    assert add_conventions("hf:me/net", ["softmax=no"]) == "hf:me/net?softmax=no"
    joined = add_conventions("hf:me/net@v1?softmax=no", ["input_size=8,9"])
    assert joined == "hf:me/net@v1?input_size=8,9&softmax=no"
    with pytest.raises(InputError, match="expected softmax once, got it twice"):
        add_conventions("hf:me/net?softmax=no", ["softmax=yes"])


def test_the_activation_can_be_said(folders):
    images = noise(SIZE)
    folder = folders("several labels")
    plain = scores(open_model(f"hf:{folder}?sigmoid=no"), images)
    np.testing.assert_allclose(
        scores(open_model(f"hf:{folder}"), images), 1 / (1 + np.exp(-plain)), rtol=1e-5
    )
    soft = scores(open_model(f"hf:{folder}?softmax=yes"), images)
    np.testing.assert_allclose(soft, np.exp(plain) / np.exp(plain).sum(1, keepdims=True), rtol=1e-5)


def test_a_softmax_of_one_label_is_refused(folders):
    with pytest.raises(InputError, match=r"for softmax, got one: .*Use sigmoid"):
        open_model(f"hf:{folders('one label')}?softmax=yes")


def crop():
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def test_a_processor_that_crops_has_to_be_overruled(tmp_path):
    folder = save(tmp_path / "crops", resnet, crop)
    with pytest.raises(InputError, match=r"crops: expected .*Give input_size=32,32 to have"):
        open_model(f"hf:{folder}")
    black_box = open_model(f"hf:{folder}?input_size=32,32")
    images = noise((32, 32))
    np.testing.assert_allclose(scores(black_box, images), oracle(folder, images), rtol=1e-4)
    # Of a picture that is not square it sees all, resized as iassa resizes.
    images = noise((40, 60)).astype(np.float32) / 255
    planes = resize(torch.from_numpy(images).permute(0, 3, 1, 2), (32, 32))
    np.testing.assert_array_equal(black_box(images), black_box(planes.permute(0, 2, 3, 1).numpy()))


def test_a_processor_that_does_not_resize(tmp_path):
    folder = save(tmp_path / "any", resnet, lambda: whole(do_resize=False))
    black_box = open_model(f"hf:{folder}")
    assert black_box.input_size is None
    for size in ((32, 40), (51, 35)):
        images = noise(size)
        np.testing.assert_allclose(scores(black_box, images), oracle(folder, images), rtol=1e-4)


def test_a_processor_that_fails(tmp_path):
    folder = save(tmp_path / "clusters", resnet, ImageGPTImageProcessor)
    with pytest.raises(InputError, match=r"takes one image, got: ValueError: Clusters .* Give inp"):
        open_model(f"hf:{folder}")
    black_box = open_model(f"hf:{folder}?input_size=24,32&mean=0.5&std=0.5")
    assert black_box(noise(SIZE).astype(np.float32) / 255).shape == (3, 5)


def test_without_a_processor_all_has_to_be_said(tmp_path):
    folder = save(tmp_path / "bare", resnet, None)
    for said in ("", "?input_size=24,32", "?mean=0.5&std=0.5"):
        with pytest.raises(
            InputError, match=r"expected an image processor in .*Give the settings in its"
        ):
            open_model(f"hf:{folder}{said}")
    black_box = open_model(f"hf:{folder}?input_size=24,32&mean=0.5&std=0.5")
    network = AutoModelForImageClassification.from_pretrained(folder)
    images = noise(SIZE)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = network(planes).logits.softmax(1).numpy()
    np.testing.assert_allclose(scores(black_box, images), expected, rtol=1e-4)


# --- what cannot be used ----------------------------------------------------------------------


def refusal_of(reference) -> str:
    with pytest.raises(InputError) as refusal:
        open_model(str(reference))
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_folder_in_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert open_model(f"hf:~/{folder.name}").identity() == open_model(f"hf:{folder}").identity()


def test_weights_that_are_missing_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if not name.startswith("classifier")},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    text = refusal_of(f"hf:{folder}")
    assert "got none for classifier.bias, classifier.weight. Name a model that was" in text


def test_a_network_without_a_head(tmp_path):
    ViTModel(vit().config).save_pretrained(tmp_path)
    whole().save_pretrained(tmp_path)
    assert "got none for classifier.bias, classifier.weight" in refusal_of(f"hf:{tmp_path}")


def test_a_model_of_something_else(tmp_path):
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    BertModel(config).save_pretrained(tmp_path)
    text = refusal_of(f"hf:{tmp_path}")
    assert text.startswith(f"expected an image classifier that transformers loads in {tmp_path}")
    assert "BertConfig" in text
    assert len(text) < 700


def test_a_detector_is_pointed_to_the_page_of_detectors(tmp_path):
    config = DetrConfig(use_timm_backbone=False, backbone_config=ResNetConfig(), backbone=None)
    config.architectures = ["DetrForObjectDetection"]
    config.save_pretrained(tmp_path)
    text = refusal_of(f"hf:{tmp_path}")
    assert "DetrConfig" in text
    assert "It detects objects: export it to ONNX" in text
    assert text.endswith("see docs/detectors.md.")


def test_pickled_code_is_not_run(folder):
    class Touch:
        def __reduce__(self):
            return Path.touch, (folder / "touched",)

    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Touch()}, folder / "pytorch_model.bin")
    assert "expected an image classifier that transformers loads" in refusal_of(f"hf:{folder}")
    assert not (folder / "touched").exists()


def test_weights_alone_may_be_pickled(folder, folders):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    images = noise(SIZE)
    np.testing.assert_array_equal(
        scores(open_model(f"hf:{folder}"), images),
        scores(open_model(f"hf:{folders('vit')}"), images),
    )


def test_code_of_the_authors_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "mine.Config",
        "AutoModelForImageClassification": "mine.Model",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'touched')!r}, 'w')\n")
    assert "expected an image classifier that transformers loads" in refusal_of(f"hf:{folder}")
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"junk" * 20])
def test_files_that_are_missing_or_damaged(folder, file, content):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    assert str(folder) in refusal_of(f"hf:{folder}")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf:", "expected hf:NAME or hf:FOLDER, got no name"),
        ("hf:?softmax=yes", "expected hf:NAME or hf:FOLDER, got no name"),
        ("hf:/no/such/folder", "no such folder: /no/such/folder"),
        ("hf:./none", "no such folder: ./none"),
        ("hf:a/b/c", "no such folder: a/b/c"),
        ("hf:{folder}?layout=NCHW", "expected no layout for a classifier"),
        ("hf:{folder}?output_name=x", "expected no output_name for a classifier"),
        ("hf:{folder}?detector=yolov8", "expected no detector for a classifier"),
        ("hf:{folder}?threshold=0.5", "expected no threshold for a classifier"),
        ("hf:{folder}?colour=red", "expected a known field, got colour"),
        ("hf:{folder}?input_size=30,30", "expected vit to run on an image of 30 x 30, got: "),
        ("hf:{folder}?class_names=/none", "cannot read the class names /none"),
        ("hf:{folder}/config.json", "no such folder"),
    ],
)
def test_names_that_cannot_be_used(folders, reference, message):
    assert message in refusal_of(reference.format(folder=folders("vit")))


def test_names_of_another_number_of_classes(folders, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\n")
    text = refusal_of(f"hf:{folders('vit')}?class_names={tmp_path / 'names.txt'}")
    assert "expected 5 class names" in text


# --- what it is -------------------------------------------------------------------------------


def test_identity_changes_with_weights_and_treatment_and_nothing_else(folders, folder, tmp_path):
    first = open_model(f"hf:{folders('vit')}").identity()
    assert open_model(f"hf:{folder}").identity() == first  # wherever it lies
    names = {
        open_model(f"hf:{save(tmp_path / 'other', *MODELS['vit'], seed=1)}").identity(),
        open_model(f"hf:{folder}?softmax=no").identity(),
        open_model(f"hf:{folder}?mean=0.5&std=0.5").identity(),
        open_model(f"hf:{folders('several labels')}").identity(),
        first,
    }
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][2] += 1e-6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    names.add(open_model(f"hf:{folder}").identity())
    assert len(names) == 6


def test_a_pickled_one_is_opened_again(folders):
    black_box = open_model(f"hf:{folders('vit')}?softmax=no")
    content = pickle.dumps(black_box)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert isinstance(again, HuggingFaceModel)
    assert again.identity() == black_box.identity()
    images = noise(SIZE)
    np.testing.assert_array_equal(scores(again, images), scores(black_box, images))


def test_notes_and_bars_are_left_as_they_were(folders):
    logging = transformers.utils.logging
    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    open_model(f"hf:{folders('vit')}")
    assert logging.get_verbosity() == logging.WARNING
    assert logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()


# --- the hub ----------------------------------------------------------------------------------

OPEN = """
import pickle, sys, time
import iassa
for reference in sys.argv[1:]:
    start = time.monotonic()
    try:
        black_box = iassa.open_model(reference, "cpu")
        again = pickle.loads(pickle.dumps(black_box))
        print(black_box.name, black_box.identity() == again.identity(), black_box.identity())
    except iassa.InputError as error:
        print("refused", error)
"""


def open_from(url, cache, *references):
    """What a process of its own says: where hub and cache are is read when one imports them."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(cache)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", OPEN, *references],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_models_are_downloaded_from_the_hub_and_kept(folders, tmp_path):
    (source := tmp_path / "repository").mkdir()
    for file in folders("vit").iterdir():
        shutil.copy(file, source)
    torch.save({}, source / "pytorch_model.bin")
    (source / "mine.py").write_text("")
    local = open_model(f"hf:{folders('vit')}").identity()
    with hub(source, "me/net") as there:
        lines = open_from(
            there.url,
            tmp_path / "cache",
            *("hf:me/net", "hf:me/net@main?softmax=no", "hf:me/other", "hf:me/net@v2"),
        )
    weights, rest = local.split()[1:]
    assert lines[0] == f"me/net True hf {weights} {COMMIT} {rest}"
    assert lines[1].startswith(f"me/net True hf {weights} {COMMIT} ")
    assert "softmax=no" in lines[1]
    assert lines[2].startswith("refused cannot open me/other: no such folder, and from the Hugging")
    assert "Repository Not Found" in lines[2]
    assert lines[3].startswith(
        "refused cannot open me/net at revision v2: no such folder, and from"
    )
    assert lines[3].count("Revision Not Found") == 1
    fetched = [line.rpartition("/")[2] for line in there.seen if line.startswith("GET /me/net")]
    assert sorted(fetched) == ["config.json", "model.safetensors", "preprocessor_config.json"]

    # The hub is gone: what was downloaded is opened all the same.
    gone = open_from(there.url, tmp_path / "cache", "hf:me/net", f"hf:me/net@{COMMIT}", "hf:me/b")
    assert gone[:2] == [lines[0]] * 2
    assert gone[2].startswith("refused cannot open me/b: no such folder, not in the cache of the")
    assert f"and {there.url} cannot be reached: ConnectError" in gone[2]


@pytest.mark.thorough  # in a process that imports all anew, as the test above has two
def test_pickled_weights_are_downloaded_where_there_are_no_others(folders, tmp_path):
    (source := tmp_path / "repository").mkdir()
    for file in ("config.json", "preprocessor_config.json"):
        shutil.copy(folders("vit") / file, source)
    torch.save(load_file(folders("vit") / "model.safetensors"), source / "pytorch_model.bin")
    with hub(source, "net") as there:
        (line,) = open_from(there.url, tmp_path / "cache", "hf:net")
    weights = open_model(f"hf:{folders('vit')}").identity().split()[1]
    assert line.startswith(f"net True hf {weights} {COMMIT} ")
    assert not any("api/models" in one and "discussions" in one for one in there.seen)


def test_a_hub_that_does_not_answer_is_not_waited_for_long(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (line,) = open_from(url, tmp_path, "hf:me/net")
    assert f"and {url} cannot be reached: ReadTimeout" in line


# --- end to end -------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run_command


def test_explain_and_extend_on_the_command_line(run, folders, tmp_path):
    model = f"hf:{folders('vit')}"
    options = ["--method", "rise", "--device", "cpu", "--target", "dog", "--out", "map"]
    code, out, err = run("explain", "--example", "cat", "--model", model, "--calls", 300, *options)
    assert code == 0, err
    assert "300 calls of vit on cpu" in err
    assert "Loading" not in err
    assert out.split() == ["map/overlay-0.png"]
    code, _, err = run("extend", "map", "--model", model, "--calls", 40, "--device", "cpu")
    assert code == 0, err
    made = iassa.Explanation.load(tmp_path / "map")
    assert (made.calls, made.targets[0].name) == (340, "dog")
    code, _, err = run("extend", "map", "--model", model, "--no-softmax", "--calls", 40)
    assert code == 2
    assert "error: " in err
    code, _, err = run("explain", "--example", "cat", "--model", model, "--device", "cuda:99")
    assert code == 2
    assert "expected a device that is here" in err


def png(image) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def test_a_benchmark_on_two_workers(run, folders, tmp_path):
    (tmp_path / "images").mkdir()
    for k, image in enumerate(noise((26, 30))):
        (tmp_path / "images" / f"{k}.png").write_bytes(png(image))
    for workers in (1, 2):
        code, _, err = run(
            *("benchmark", "images", "--images", "images", "--run", f"run{workers}"),
            *("--model", f"hf:{folders('resnet')}", "--methods", "rise", "--calls", 40),
            *("--workers", workers, "--device", "cpu", "--protocol", "pixels_per_step=12544"),
            *("--protocol", "gain_steps=2"),
        )
        assert code == 0, err
    found = contents(tmp_path / "run1")
    assert len(found) == 3
    assert found == contents(tmp_path / "run2")


def test_a_model_is_sent_to_a_worker(folders):
    black_box = open_model(f"hf:{folders('resnet')}", "cpu")
    tasks = [ScoreImage(str(k), png(image), "") for k, image in enumerate(noise((26, 30)))]
    with LocalWorkers(Model(black_box), 1) as workers:
        found = {task.name: result.scores for task, result in workers.run(tasks)}
    for task in tasks:
        expected = black_box(decode_image(task.content, task.name)[None])[0]
        np.testing.assert_allclose(found[task.name], expected, rtol=1e-5)
