"""Damaged ONNX files, and all that reads them: `python tests/damaged_onnx.py 2000`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

import iassa
from damage import Reader, damage, print_judgement
from iassa.errors import InputError
from iassa.models.detector import Detector
from iassa.models.onnx import session
from iassa.models.onnx.features import OnnxLayers
from iassa.models.opening import open_model
from onnx_graphs import SAID, convolutions, counting, detector, means, outside

ROOM = 8 * 2**30  # of addresses: its threads reserve more than they use
GRAPHS: list[Callable[[], onnx.ModelProto]] = [
    means,
    lambda: counting("once"),
    convolutions,
    detector,
    lambda: outside(means()),
]
NUMBERS = (-(2**31), -1, 0, 1, 2, 3, 7, 2**16, 2**31 - 1)
LONG_NUMBERS = (*NUMBERS, 2**40, 2**62, -(2**63), 2**63 - 1)
TEXTS = ("", "x", "image", "scores", "means", "[" * 2000, "../../x", "9" * 5000, "é", "a\nb", "-1")
WHOLE = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM}


def mutant(number: int) -> bytes:
    """A damaged file: every other with other values in its fields, the rest with other bytes."""
    rng = np.random.default_rng(number)
    model = GRAPHS[number % len(GRAPHS)]()
    if rng.random() < 0.6:
        for _ in range(rng.integers(1, 4)):
            _edit(model, rng)
        return model.SerializeToString()
    content = model.SerializeToString()
    return damage(content, [content], rng)


def _edit(model: Message, rng: np.random.Generator) -> None:
    """Change one field, on a way from the top that is drawn."""
    message = model
    while True:
        present = [field for field, _ in message.ListFields()]
        field = present[rng.integers(len(present))] if present else None
        if field is None or rng.random() < 0.1:
            fields = message.DESCRIPTOR.fields
            field = fields[rng.integers(len(fields))]
        if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            break
        inner = getattr(message, field.name)
        if not field.is_repeated:
            inner.SetInParent()
            message = inner
        elif len(inner) and rng.random() < 0.85:
            message = inner[rng.integers(len(inner))]
        else:
            _edit_list(inner, rng)
            return
    value = _value(field, rng)
    if field.is_repeated:
        values = getattr(message, field.name)
        if len(values) and rng.random() < 0.8:
            values[rng.integers(len(values))] = value
        else:
            values.append(value)
    elif rng.random() < 0.15:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, value)


def _edit_list(inner: Any, rng: np.random.Generator) -> None:
    if len(inner) and rng.random() < 0.5:
        del inner[rng.integers(len(inner))]
    elif len(inner):
        inner.add().CopyFrom(inner[rng.integers(len(inner))])
    else:
        inner.add()


def _value(field: Any, rng: np.random.Generator) -> object:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.bytes(int(rng.integers(40)))
        return TEXTS[rng.integers(len(TEXTS))]
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return float(rng.choice([np.nan, np.inf, -1.0, 0.0, 1e38]))
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values
        return known[rng.integers(len(known))].number
    numbers = NUMBERS if field.cpp_type in WHOLE else LONG_NUMBERS
    return numbers[rng.integers(len(numbers))] & (2**63 - 1 if _unsigned(field) else -1)


def _unsigned(field: Any) -> bool:
    unsigned = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    return field.cpp_type in unsigned


def readers(number: int) -> list[Reader]:
    """A damaged file, opened and asked, opened without a word about it, and asked for features."""
    FILE.write_bytes(mutant(number))
    return [_scores, _opened, _features]


def _scores() -> str:
    for said in (SAID, "?softmax=no&input_size=16,24", "?threshold=0"):
        try:
            model = open_model(f"{FILE}{said}")
        except InputError:
            continue
        images = np.full((2, *(model.input_size or (16, 24)), 3), 0.5, np.float32)
        if isinstance(model, Detector):
            model.detect(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
        else:
            model(images)
        return "scored"
    raise InputError("not opened")


def _opened() -> str:
    open_model(str(FILE))
    return "opened"


def _features() -> str:
    names = iassa.models.onnx_feature_names(FILE, layout="NCHW")
    last = [same[-1] for same in names.values()]
    if last:
        OnnxLayers(str(FILE), tuple(dict.fromkeys(last)), layout="NCHW", input_size=(16, 24))
    return "featured"


if __name__ == "__main__":
    session.TRIAL = 2.0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        FILE = Path(folder) / "net.onnx"
        FILE.with_name("net.data").write_bytes(np.eye(3, dtype=np.float32).tobytes())
        FILE.write_bytes(means().SerializeToString())
        for reader in (_scores, _features):  # which loads all that there is
            reader()
        print_judgement(readers, ROOM)
