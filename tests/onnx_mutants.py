"""Damaged ONNX files, read one after another in this process. Each line of stdout is about one.

Usage: python onnx_mutants.py SEED FIRST COUNT
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

import iassa
from iassa.errors import BlackBoxError, InputError
from iassa.models.detector import Detector
from iassa.models.onnx import session
from iassa.models.onnx.features import OnnxLayers
from iassa.models.opening import open_model
from onnx_graphs import SAID, convolutions, counting, detector, means, outside

LIMIT = 8 * 2**30  # of address space, beyond that of the libraries: for the machine's sake
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


def mutant(seed: int, number: int) -> bytes:
    """A damaged file."""
    rng = np.random.default_rng((seed, number))
    model = GRAPHS[number % len(GRAPHS)]()
    if rng.random() < 0.6:
        for _ in range(rng.integers(1, 4)):
            _edit(model, rng)
        return model.SerializeToString()
    return _damage(model.SerializeToString(), rng)


def _damage(whole: bytes, rng: np.random.Generator) -> bytes:
    """Bits that are flipped, or a stretch that is missing, twice there, or zero."""
    content = bytearray(whole)
    first, last = sorted(int(one) for one in rng.integers(0, len(content), 2))
    kind = rng.integers(5)
    if kind == 0:
        return bytes(content[:last])
    if kind == 1:
        last = min(last, first + 16)
        return bytes(content[:first] + content[last:])
    if kind == 2:
        return bytes(content[:last] + content[first:last] + content[last:])
    if kind == 3:
        last = min(last, first + 16)
        content[first:last] = bytes(last - first)
        return bytes(content)
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


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


def read(path: Path) -> list[str]:
    """All that reads such a file: what each gave, or the kind of its error."""
    found = []
    for reader in (_scores, lambda one: open_model(str(one)), _features):
        try:
            reader(path)
            found.append("result")
        except (InputError, BlackBoxError) as error:
            lines = str(error).splitlines()
            found.append(type(error).__name__ if len(lines) == 1 else "of several lines")
    return found


def _scores(path: Path) -> None:
    for said in (SAID, "?softmax=no&input_size=16,24", "?threshold=0"):
        try:
            model = open_model(f"{path}{said}")
        except InputError:
            continue
        images = np.full((2, *(model.input_size or (16, 24)), 3), 0.5, np.float32)
        if isinstance(model, Detector):
            model.detect(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
        else:
            model(images)
        return
    raise InputError("not opened")


def _features(path: Path) -> None:
    names = iassa.models.onnx_feature_names(path, layout="NCHW")
    last = [same[-1] for same in names.values()]
    if last:
        OnnxLayers(str(path), tuple(dict.fromkeys(last)), layout="NCHW", input_size=(16, 24))


def _peak() -> int:
    """Most memory since it was asked last, in bytes."""
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(peak.split()[1])


def main(seed: int, first: int, count: int) -> None:
    """Read mutants, and print what came of each: number, outcome, seconds, bytes, traceback."""
    warnings.simplefilter("ignore")
    session.TRIAL = 5.0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.with_name("net.data").write_bytes(np.eye(3, dtype=np.float32).tobytes())
        path.write_bytes(means().SerializeToString())
        assert read(path)[0] == "result"  # which loads all that there is
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, used + LIMIT))
        for number in range(first, first + count):
            print(json.dumps([number]), flush=True)
            path.write_bytes(mutant(seed, number))
            before, started, trace = _peak(), time.perf_counter(), ""
            before = _peak()
            try:
                outcome = read(path)
            except Exception as error:  # noqa: BLE001 - it is what is looked for
                outcome, trace = [type(error).__name__], traceback.format_exc()
            row = [number, outcome, time.perf_counter() - started, _peak() - before, trace]
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
