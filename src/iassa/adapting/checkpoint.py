"""What an adaptation goes on from when it was killed: a file beside the one that it makes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from iassa.adapting.training import Adaptation
from iassa.errors import InputError, list_some, require
from iassa.files import is_there, read_whole, write_whole

SUFFIX = ".part"
LIMITS = ("epochs", "minutes")  # may differ: they say when it ends, and change no epoch


def part_of(out: Path) -> Path:
    """The checkpoint of a file."""
    return out.with_name(out.name + SUFFIX)


def describe_run(settings: Adaptation, digest: str) -> dict[str, Any]:
    """What has to agree for an adaptation to go on, as JSON has it.

    Args:
        settings: how.
        digest: of the images.
    """
    told = {name: value for name, value in vars(settings).items() if name not in LIMITS}
    versions = {name: metadata.version(name) for name in ("iassa", "torch")}
    return {**told, "images": digest, **versions}


def save_part(out: Path, run: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the checkpoint, whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"run": json.dumps(run, sort_keys=True), "state": dict(state)}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).digest()
    write_whole(out.parent, {part_of(out).name: digest + content})


def load_part(out: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state that an adaptation goes on from.

    Args:
        out: the file that it makes.
        run: what it is; see `describe_run`.

    Returns:
        The state; None where there is no checkpoint.

    Raises:
        InputError: the checkpoint is damaged, or of another adaptation.
    """
    path = part_of(out)
    if not is_there(path):
        return None
    content = read_whole(path, "the checkpoint")
    advice = "Delete it, choose another --out, or say --overwrite to begin anew."
    size = hashlib.sha256().digest_size
    require(
        hashlib.sha256(content[size:]).digest() == content[:size],
        f"expected a whole checkpoint in {path}, got a damaged one. {advice}",
    )
    try:
        saved = torch.load(io.BytesIO(content[size:]), map_location="cpu", weights_only=True)
        known, state = json.loads(saved["run"]), saved["state"]
    except Exception as error:  # of whatever kind: another program may have written it
        raise InputError(
            f"expected a checkpoint in {path}, got something else. {advice}"
        ) from error
    other = [name for name in {**known, **run} if known.get(name) != run.get(name)]
    if "seed" in other:  # it chooses those that train
        other = [name for name in other if name != "images"]
    require(
        not other,
        f"expected the checkpoint {path} to be of this adaptation, got one that differs in "
        f"{list_some(sorted(other))}. {advice}",
    )
    assert isinstance(state, dict)
    return state


def remove_part(out: Path) -> None:
    """Remove the checkpoint, if there is one."""
    part_of(out).unlink(missing_ok=True)
