"""The files and the server that the pages of docs/ name, as a reader has them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from iassa.image import example_image
from onnx_graphs import made
from scoring_server import Server, model, serving

CAT = (20, 120, 280, 330)  # where it is in PHOTO.jpg, 300 x 451: top, left, bottom, right


def write_files(folder: Path) -> None:
    """Photographs, annotations, an ONNX file of a classifier, and two of detectors."""
    for name, example in {"PHOTO.jpg": "cat", "PHOTO.png": "cat", "STREET.jpg": "coffee"}.items():
        pixels = np.round(example_image(example) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    photograph = Image.open(folder / "PHOTO.jpg")
    for name, corner in {"A": (0, 0), "B": (60, 30), "C": (200, 0)}.items():
        photograph.crop((*corner, *photograph.size)).save(folder / f"{name}.jpg")
    for images in ("IMAGES", "FOLDER", "photos/there"):
        (folder / images).mkdir(parents=True)
        shutil.copy(folder / "PHOTO.jpg", folder / images)
    for name, pair in {"A": "boots/1.jpg", "B": "boots/2.jpg", "C": "shoes/7.jpg"}.items():
        (folder / "PRODUCTS" / pair).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{name}.jpg", folder / "PRODUCTS" / pair)
    pairs = "image,query\nboots/1.jpg,boots/2.jpg\nboots/1.jpg,shoes/7.jpg\n"
    (folder / "pairs.csv").write_text(pairs)
    (folder / "instances.json").write_text(json.dumps(annotations()))
    onnx.save(classifier(), folder / "FILE.onnx")
    for layout, name in (("yolov8", "yolo11n.onnx"), ("yolov5", "yolo.onnx")):
        onnx.save(detector(layout), folder / name)


def annotations() -> dict[str, Any]:
    """One cat, in the format of MS-COCO."""
    top, left, bottom, right = CAT
    outline = {"id": 1, "image_id": 1, "category_id": 17, "iscrowd": 0}
    outline["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    return {
        "images": [{"id": 1, "file_name": "PHOTO.jpg", "height": 300, "width": 451}],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [outline],
    }


def classifier() -> onnx.ModelProto:
    """Three logits of a network with two convolutions, whose outputs are relu_1 and relu_4."""
    rng = np.random.default_rng(0)
    weights = {
        "one": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "two": rng.normal(size=(3, 4, 3, 3)).astype(np.float32),
        "shape": np.array([0, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "one"], ["first"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["first"], ["relu_1"]),
        helper.make_node("Conv", ["relu_1", "two"], ["second"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["second"], ["relu_4"]),
        helper.make_node("GlobalAveragePool", ["second"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["scores"]),
    ]
    return made(nodes, weights, ("n", 3, 48, 64))


def detector(layout: str) -> onnx.ModelProto:
    """Two dogs and a cat at fixed places of 64 x 96 pixels, the surer the brighter the image.

    Other rows, as many as strides of 8, 16 and 32 make places, have no score.
    """
    corners = np.array([(8, 4, 40, 30), (10, 50, 58, 84), np.array(CAT) * 64 / 300])
    centres = (corners[:, [1, 0]] + corners[:, [3, 2]]) / 2
    sizes = corners[:, [3, 2]] - corners[:, [1, 0]]
    classes = np.array([(0.9, 0.1), (0.7, 0.1), (0.1, 0.8)])
    sure = np.ones((3, 0 if layout == "yolov8" else 1))
    rows = np.concatenate([centres, sizes, sure, classes], axis=1).astype(np.float32)
    rows = np.pad(rows, ((0, 8 * 12 + 4 * 6 + 2 * 3 - 3), (0, 0)))[None]
    bright = np.concatenate([np.zeros(rows.shape[2] - 2), np.ones(2)]).astype(np.float32)
    if layout == "yolov8":
        rows, bright = rows.transpose(0, 2, 1), bright[:, None]
    nodes = [
        helper.make_node("ReduceMean", ["image", "sides"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["light"]),
        helper.make_node("Sub", ["light", "one"], ["darker"]),
        helper.make_node("Mul", ["darker", "bright"], ["less"]),
        helper.make_node("Add", ["less", "one"], ["factors"]),
        helper.make_node("Mul", ["factors", "rows"], ["scores"]),
    ]
    weights = {"sides": np.array([1, 2, 3]), "column": np.array([-1, 1, 1]), "one": np.float32(1)}
    notes = {"author": "Ultralytics", "task": "detect", "names": "{0: 'dog', 1: 'cat'}"}
    model = made(nodes, {**weights, "bright": bright, "rows": rows}, ("n", 3, 64, 96), notes)
    shape = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ("n", *rows.shape[1:]))
    model.graph.output[0].CopyFrom(shape)
    return model


def write_hugging_face(folder: Path) -> None:
    """A tiny classifier, under the two names that docs/torch.md has, and weights of its network."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "cup", 2: "dog"},
    )
    # A folder counts before a model of the hub of its name.
    for name in ("FOLDER", "google/vit-base-patch16-224"):
        torch.manual_seed(0)
        ViTForImageClassification(config).save_pretrained(folder / name)
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / name)
    shapes = {"windows.weight": (8, 3, 5, 5), "windows.bias": (8,)}
    shapes |= {"head.weight": (3, 8), "head.bias": (3,)}
    random = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(*shape, generator=random) for name, shape in shapes.items()}
    torch.save(weights, folder / "weights.pt")


def write_clip(folder: Path) -> None:
    """A tiny CLIP, under the name that docs/notebooks/zero-shot.md has."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTextConfig,
        CLIPTokenizer,
        CLIPVisionConfig,
    )

    there = folder / "openai/clip-vit-base-patch32"
    there.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    (there / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (there / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(there / "vocab.json"), str(there / "merges.txt"))
    pixels = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pixels, tokenizer).save_pretrained(there)
    common: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = CLIPTextConfig(vocab_size=len(words), max_position_embeddings=40, **ends, **common)
    vision = CLIPVisionConfig(image_size=32, patch_size=8, **common)
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    ).save_pretrained(there)


MORE_FILES = {
    "docs/torch.md": write_hugging_face,
    "docs/notebooks/zero-shot.md": write_clip,
}


def images_of(asked: NDArray[Any]) -> NDArray[Any]:
    """What a request has, floats (N, 3, H, W) or bytes (N, H, W, 3), as (N, H, W, 3)."""
    return asked if asked.dtype == np.uint8 else asked.transpose(0, 2, 3, 1)


@contextmanager
def filled_in(page: str) -> Iterator[dict[str, str]]:
    """What stands in a page for what a reader fills in; the server runs until the end."""
    if page not in ("docs/endpoint.md", "docs/recipes/kserve.md"):
        yield {}
        return
    with serving(Server(score=lambda images: model(images_of(images)))) as server:
        image = {"name": "image", "datatype": "FP32", "shape": [-1, 3, 24, 36]}
        scores = {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]}
        server.metadata["/v2/models/cats"] = {"inputs": [image], "outputs": [scores]}
        yield {"https://HOST/PATH": server.url, "_host HOST": f"_host 127.0.0.1:{server.port}"}
