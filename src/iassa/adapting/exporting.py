"""The adapted network as an ONNX file that says itself how `features=` reads it."""

from __future__ import annotations

import copy
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch

from iassa.adapting.network import NAMES, Levels, arrange
from iassa.errors import IassaError, require
from iassa.files import write_whole
from iassa.image import resize
from iassa.models.efficientnet_lite0 import INPUT_SIZE, export_graph
from iassa.models.onnx.features import READ_AS, OnnxLayers

HISTORY = "iassa.adaptation"  # key of what the features were adapted to, and how
TOLERANCE = 1e-3  # of the largest feature: between torch and the file


def export_features(levels: Levels, history: Mapping[str, Any], out: Path) -> None:
    """Write the file, when it gives the same features as torch.

    Args:
        levels: the network.
        history: what is written down of how it came about, as JSON.
        out: of the file.

    Raises:
        InputError: its folder cannot be written.
        IassaError: the file gives other features.
    """
    network = arrange(copy.deepcopy(levels).cpu(), torch.contiguous_format)
    network.requires_grad_(False)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "draft.onnx"
        export_graph(network, INPUT_SIZE, [*NAMES], draft)
        model = onnx.load(draft)
        notes = {READ_AS: f"{','.join(NAMES)}?feature_layout=NCHW", HISTORY: json.dumps(history)}
        for key, value in notes.items():
            model.metadata_props.add(key=key, value=value)
        buffer = io.BytesIO(model.SerializeToString())
        draft.write_bytes(buffer.getvalue())
        _check(network, draft)
    write_whole(out.parent, {out.name: buffer.getvalue()})


def _check(network: Levels, path: Path) -> None:
    image = torch.rand((3, 240, 320), generator=torch.Generator().manual_seed(0))
    image *= torch.linspace(0.2, 1, 320)
    with torch.inference_mode():
        expected = network(resize(image, INPUT_SIZE)[None])
    for level, found in zip(expected, OnnxLayers.parse(str(path))(image), strict=True):
        most = float((level[0] - found).abs().max() / level.abs().max())
        require(
            most < TOLERANCE,
            f"the exported features differ from torch by {most:.2g} of the largest. Report your "
            "versions.",
            IassaError,
        )
