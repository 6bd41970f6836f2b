"""docs/notebooks/zero-shot.md: its example with a real CLIP of transformers, a tiny one on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

import iassa

PAGE = Path(__file__).parents[1] / "docs" / "notebooks" / "zero-shot.md"
NAME = "openai/clip-vit-base-patch32"  # as the page has it; a folder of this name is taken first


def save_tiny_clip(folder: Path) -> None:
    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    pixels = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pixels, tokenizer).save_pretrained(folder)
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
    ).save_pretrained(folder)


@pytest.mark.filterwarnings("ignore")  # transformers tells of its own changes
def test_the_example_with_clip_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_clip(tmp_path / NAME)
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(noise).save("PHOTO.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"iassa": iassa}
    few = code.replace('target="a photo of a cat")', 'target="a photo of a cat", calls=40)')
    assert few != code
    exec(compile(few, "zero-shot.md", "exec"), names)
    scores = names["model"](np.random.default_rng(1).random((2, 40, 56, 3), np.float32))
    assert scores.shape == (2, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
