"""Features from ONNX files: the same as the hooks of the torch module that was exported."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import iassa
from iassa.errors import InputError
from iassa.image import example_image, resize
from iassa.methods import Iassa, IassaPaper
from iassa.methods.registry import open_method
from iassa.models import efficientnet_lite0
from iassa.models.features import ColourPosition, TorchLayers, open_features
from iassa.models.onnx.features import OnnxLayers, onnx_feature_names
from rounding import steps

CPU = torch.device("cpu")
SIZE = (24, 40)
NAMES = ("block1/relu:0", "block2/relu:0")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network() -> nn.Sequential:
    """Strides 2, 4 and 8, and a head without a place."""
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            first=nn.Conv2d(3, 4, 3, stride=2, padding=1),
            act1=nn.ReLU(),
            second=nn.Conv2d(4, 6, 3, stride=2, padding=1),
            act2=nn.ReLU(),
            third=nn.Conv2d(6, 9, 3, stride=2, padding=1),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(9, 2),
        )
    ).eval()


def graph(
    path: Path,
    shape: tuple[int | str, ...] = (1, 3, *SIZE),
    kind: int = TensorProto.FLOAT,
    *,
    extra: tuple[onnx.NodeProto, ...] = (),
    more_inputs: tuple[onnx.ValueInfoProto, ...] = (),
    scale: float | None = None,
    external: bool = False,
) -> Path:
    """`network` as nodes written by hand, its input cast and transposed where need be."""
    module = network()
    weights = [
        numpy_helper.from_array(value.numpy(), name) for name, value in module.state_dict().items()
    ]
    entry = [helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT)]
    if shape[-1] == 3:
        entry.append(helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]))
    else:
        entry.append(helper.make_node("Identity", ["float"], ["planes"]))
    weights.append(numpy_helper.from_array(np.float32(scale or 1), "scale"))
    entry.append(helper.make_node("Mul", ["planes", "scale"], ["scaled"]))

    def conv(layer: str, source: str) -> onnx.NodeProto:
        inputs = [source, f"{layer}.weight", f"{layer}.bias"]
        return helper.make_node("Conv", inputs, [layer], strides=[2, 2], pads=[1] * 4)

    nodes = [
        *entry,
        conv("first", "scaled"),
        helper.make_node("Relu", ["first"], [NAMES[0]]),
        conv("second", NAMES[0]),
        helper.make_node("Relu", ["second"], [NAMES[1]]),
        conv("third", NAMES[1]),
        helper.make_node("GlobalAveragePool", ["third"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["logits"], transB=1),
        *extra,
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info("image", kind, shape), *more_inputs],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("rows", 2))],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    if external:
        data = f"{path.name}.data"
        onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=0)
    else:
        onnx.save(model, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return graph(tmp_path / "net.onnx")


def picture(height: int = 50, width: int = 70, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((3, height, width))).float()


def normalise(planes: Tensor) -> Tensor:
    return (planes - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def hooks(**options: Any) -> TorchLayers:
    return TorchLayers(network(), ("act1", "act2"), SIZE, **options)


def same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == torch.float32
        assert float((a - b).abs().max()) < steps(256, b)


# --- the same as torch ------------------------------------------------------------------------


@pytest.mark.parametrize("external", [False, True])
def test_tensors_are_what_hooks_of_torch_hear(
    tmp_path: Path, external: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models.onnx"
    folder.mkdir()
    path = graph(folder / "net.onnx", external=external)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    assert len(before) == 1 + external
    monkeypatch.chdir("/")  # external data is looked for beside the file, not here
    layers = OnnxLayers(str(path), NAMES)
    for seed, size in enumerate(((50, 70), SIZE, (9, 100))):
        same(layers(picture(*size, seed)), hooks()(picture(*size, seed)))
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    reverse = OnnxLayers(str(path), NAMES[::-1])(picture())
    assert [len(level) for level in reverse] == [6, 4]


def test_the_image_is_normalised_channel_by_channel(file: Path) -> None:
    layers = OnnxLayers(str(file), NAMES, mean=MEAN, std=STD)
    same(layers(picture()), hooks(normalise=normalise)(picture()))


@pytest.mark.parametrize(
    "shape", [("n", 3, *SIZE), (4, 3, *SIZE), (1, 3, "h", "w"), (1, *SIZE, 3), ("n", "h", "w", 3)]
)
def test_layout_and_size_are_read_from_the_graph(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    path = graph(tmp_path / "net.onnx", shape)
    size = SIZE if "h" in shape else None
    same(OnnxLayers(str(path), NAMES, size)(picture()), hooks()(picture()))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floating_point_inputs(tmp_path: Path, kind: int) -> None:
    path = graph(tmp_path / "net.onnx", kind=kind)
    resized = resize(picture(), SIZE)
    rounded = resized.half().float() if kind == TensorProto.FLOAT16 else resized
    expected = TorchLayers(network(), ("act1", "act2"))(rounded)
    same(OnnxLayers(str(path), NAMES)(picture()), expected)


def test_a_graph_that_takes_8_bit_images_normalises_itself(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", (1, *SIZE, 3), TensorProto.UINT8, scale=1 / 255)
    image = (picture(*SIZE) * 255).round() / 255
    same(OnnxLayers(str(path), NAMES)(image), hooks()(image))
    with pytest.raises(InputError, match="expected no mean and std"):
        OnnxLayers(str(path), NAMES, mean=MEAN)


def test_feature_maps_with_channels_last(tmp_path: Path) -> None:
    last = tuple(
        helper.make_node("Transpose", [name], [f"last{k}"], perm=[0, 2, 3, 1])
        for k, name in enumerate(NAMES)
    )
    path = str(graph(tmp_path / "net.onnx", extra=last))
    expected = hooks()(picture())
    same(OnnxLayers(path, ("last0", "last1"))(picture()), expected)
    same(OnnxLayers(path, (NAMES[0], "last1"))(picture()), expected)  # each by itself
    (told,) = OnnxLayers(path, ("last1",), feature_layout="NHWC")(picture())
    (mistold,) = OnnxLayers(path, ("last1",), feature_layout="NCHW")(picture())
    same((told,), expected[1:])
    same((mistold,), (expected[1].permute(1, 2, 0),))


def test_a_shape_that_can_be_read_both_ways_has_to_be_told(tmp_path: Path) -> None:
    nodes = (  # a crop with as many positions a side as channels
        helper.make_node("Constant", [], ["lo"], value_ints=[0, 0, 0, 0]),
        helper.make_node("Constant", [], ["hi"], value_ints=[1, 3, 3, 3]),
        helper.make_node("Slice", ["planes", "lo", "hi"], ["square"]),
    )
    path = str(graph(tmp_path / "net.onnx", (1, 3, 24, 24), extra=nodes))
    with pytest.raises(InputError, match=r"tell NCHW from NHWC, got \(1, 3, 3, 3\) .* 24 x 24"):
        OnnxLayers(path, ("square",))
    (level,) = OnnxLayers(path, ("square",), feature_layout="NCHW")(picture(24, 24))
    assert torch.equal(level, picture(24, 24)[:, :3, :3])


def test_a_file_of_the_exporter_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "exported.onnx"
    with efficientnet_lite0._quiet():
        example = (torch.zeros(1, 3, *SIZE),)
        torch.onnx.export(network(), example, path, external_data=True, dynamo=True, verbose=False)
    names = onnx_feature_names(path)
    assert list(names) == [2, 4, 8]
    layers = OnnxLayers(str(path), tuple(n[-1] for n in names.values()))
    same(layers(picture()), TorchLayers(network(), ("act1", "act2", "third"), SIZE)(picture()))


def test_the_default_network_in_its_own_file() -> None:
    """Each level that the default takes from torch is among the tensors of that stride."""
    path = str(efficientnet_lite0.exported_graph())
    names = onnx_feature_names(path)
    assert set(names) >= {4, 8, 16, 32}
    image = torch.from_numpy(example_image("cat")).permute(2, 0, 1)
    expected = open_features("efficientnet-lite0", CPU)
    assert expected is not None
    for stride, level in zip((4, 8, 16, 32), expected(image), strict=True):
        found = OnnxLayers(path, names[stride])(image)
        alike = [maps for maps in found if maps.shape == level.shape]
        difference = min(float((maps - level).abs().max()) for maps in alike)
        assert difference < steps(64, level)  # which is up to 43


def test_a_file_in_the_home_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    names = iassa.models.onnx_feature_names(file)
    assert iassa.models.onnx_feature_names(f"~/{file.name}") == names
    wanted = names[max(names)][-1]
    same(
        open_features(f"~/{file.name}:{wanted}", CPU)(picture()),
        open_features(f"{file}:{wanted}", CPU)(picture()),
    )


def test_features_outlive_the_next_pass(file: Path) -> None:
    layers = OnnxLayers(str(file), NAMES)
    first = layers(picture())
    kept = [level.clone() for level in first]
    layers(picture(seed=1))
    assert all(map(torch.equal, first, kept))


# --- what there is to choose from -------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3, *SIZE), ("n", "h", "w", 3), (2, 3, 65, 33)])
def test_names_by_stride(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    names = onnx_feature_names(graph(tmp_path / "net.onnx", shape))
    assert {stride: found for stride, found in names.items() if stride > 1} == {
        2: ("first", NAMES[0]),
        4: ("second", NAMES[1]),
        8: ("third",),
    }


def test_names_of_a_graph_whose_shapes_cannot_be_told(file: Path) -> None:
    model = onnx.load(file)
    model.opset_import[0].domain = "elsewhere"
    onnx.save(model, file)
    with pytest.raises(InputError, match="expected an ONNX model whose shapes ONNX can infer"):
        onnx_feature_names(file)


def test_names_of_a_graph_that_takes_any_size(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", ("n", "c", "h", "w"))
    with pytest.raises(InputError, match="expected layout='NCHW' or 'NHWC'"):
        onnx_feature_names(path)
    assert list(onnx_feature_names(path, (32, 48), "NCHW"))[-1] == 8


def test_a_file_without_names_tells_what_there_is(file: Path) -> None:
    for text in (f"{file}", f"{file}:", f"{file}?mean=0.5,0.5,0.5"):
        with pytest.raises(InputError, match="expected names of tensors, fine to coarse") as caught:
            Iassa(features=text)
        assert "24 x 40" in str(caught.value)
        assert "2: block1/relu:0, 4: block2/relu:0, 8: third" in str(caught.value)
        assert "\n" not in str(caught.value)


# --- what is refused --------------------------------------------------------------------------


def refusal(*arguments: Any, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        OnnxLayers(*arguments, **fields)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_unknown_tensors_are_all_named_with_those_near(file: Path) -> None:
    text = refusal(str(file), ("block1/relu", "second", "thrid", "nowhere"))
    assert "got 'block1/relu' (nearest: block1/relu:0" in text
    assert ", 'thrid' (nearest: third), 'nowhere'. " in text
    assert "iassa.models.onnx_feature_names(" in text
    assert "got 'image'" in refusal(str(file), ("image",))  # an input is no tensor inside


@pytest.mark.parametrize("tensor", ["flat", "logits"])
def test_tensors_without_a_place(file: Path, tensor: str) -> None:
    text = refusal(str(file), (NAMES[0], tensor))
    assert f"expected tensor '{tensor}' of" in text
    assert "to be feature maps (1, C, h, w)" in text
    assert f"got shape (1, {9 if tensor == 'flat' else 2})" in text


def test_tensors_of_whole_numbers(tmp_path: Path) -> None:
    cast = (helper.make_node("Cast", ["second"], ["bytes"], to=TensorProto.UINT8),)
    path = str(graph(tmp_path / "net.onnx", extra=cast))
    assert "of uint8. iassa.models" in refusal(path, ("bytes",))


def test_files_that_are_no_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "No such file or directory" in refusal(str(tmp_path / "none.onnx"), NAMES)
    for name, content in (
        ("text", b"version https://git-lfs\n"),
        ("empty", b""),
        ("0", b"\0" * 99),
    ):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        assert "expected an ONNX file, got" in refusal(str(path), NAMES)
    whole = graph(tmp_path / "net.onnx").read_bytes()
    for share in (0.3, 0.7, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        assert "expected an ONNX" in refusal(str(path), NAMES)
    path.write_bytes(whole.replace(b"Gemm", b"Ge\xf6m"))  # ONNX Runtime prints of it, left alone
    assert "expected names in UTF-8" in refusal(str(path), NAMES)
    path.write_bytes(whole.replace(b"Gemm", b"Genm"))
    assert "that ONNX Runtime opens, got" in refusal(str(path), NAMES)
    assert capfd.readouterr() == ("", "")
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    assert "Is a directory" in refusal(str(folder), NAMES)
    assert "a file named *.onnx" in refusal(str(tmp_path / "net.pb"), NAMES)


def test_external_data_that_is_missing_or_cut(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", external=True)
    data = tmp_path / "net.onnx.data"
    content = data.read_bytes()
    data.write_bytes(content[:100])
    text = refusal(str(path), NAMES)
    assert f"of the weights of {path} in {data}, got 100: it was cut short" in text
    data.unlink()
    text = refusal(str(path), NAMES)
    assert f"of the weights of {path} in {data}, got no such file" in text


def test_models_that_are_not_of_one_image(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    other = helper.make_tensor_value_info("question", TensorProto.INT64, (1, 7))
    graph(path, more_inputs=(other,))
    assert "to take one input, the image, got image, question" in refusal(str(path), NAMES)
    for shape, word in (
        ((1, 1, *SIZE), r"three channels, (1, 3, H, W) or (1, H, W, 3), got shape (1, 1, 24, 40)"),
        ((1, 3, *SIZE, 1), "got shape (1, 3, 24, 40, 1)"),
        ((1, "c", "h", "w"), "does not tell, (1, ?, ?, ?)"),
        ((1, 3, 24, 3), "does not tell"),
    ):
        rewrite_input(path, shape)
        assert word in refusal(str(path), NAMES)
    rewrite_input(path, (1, 4, *SIZE))
    assert "got shape (1, 4, 24, 40) read as NCHW" in refusal(str(path), NAMES, layout="NCHW")
    graph(path, kind=TensorProto.INT32)
    assert "float32, float16, float64, uint8 images, got int32" in refusal(str(path), NAMES)


def rewrite_input(path: Path, shape: tuple[Any, ...]) -> None:
    graph(path)
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    onnx.save(model, path)


def test_sizes_that_are_open_or_contradict(tmp_path: Path) -> None:
    path = str(graph(tmp_path / "net.onnx", (1, 3, 24, "w")))
    assert "expected input_size=(height, width), since" in refusal(path, NAMES)
    assert "(24, 41), got (25, 41)" in refusal(path, NAMES, (25, 41))
    assert OnnxLayers(path, NAMES, (24, 41))(picture())[0].shape == (4, 12, 21)


def test_a_size_that_the_graph_cannot_run_at(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1, 9, 15]), "to")
    nodes = (
        helper.make_node("Constant", [], ["to"], value=shape),
        helper.make_node("Reshape", ["third", "to"], ["flat positions"]),
    )
    path = str(graph(tmp_path / "net.onnx", (1, 3, "h", "w"), extra=nodes))
    OnnxLayers(path, ("third",), SIZE)
    text = refusal(path, ("third",), (48, 80))
    assert "to run on an image of 48 x 80, got:" in text


@pytest.mark.parametrize(
    "fields",
    [
        {"tensors": ()},
        {"tensors": ("a", "a")},
        {"tensors": "third"},
        {"tensors": ("third", "")},
        {"input_size": (0, 4)},
        {"input_size": "wide"},
        {"mean": "a"},
        {"std": (0.5, 0.5, 0.0)},
        {"std": (1.0, float("nan"), 1.0)},
        {"layout": "CHW"},
        {"feature_layout": "nhwc"},
    ],
)
def test_fields_are_checked(file: Path, fields: dict[str, Any]) -> None:
    (name,) = fields
    text = refusal(**{"path": str(file), "tensors": NAMES, **fields})
    assert f"expected {name} of OnnxLayers to be" in text


# --- as a value -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mean": MEAN, "std": STD},
        {"input_size": SIZE, "layout": "NCHW", "feature_layout": "NCHW"},
        {"mean": (1 / 3, 0.0, -1e-9)},
    ],
)
def test_the_text_is_read_back(file: Path, fields: dict[str, Any]) -> None:
    layers = OnnxLayers(str(file), NAMES, **fields)
    again = OnnxLayers.parse(str(layers))
    assert again == layers
    assert hash(again) == hash(layers)
    for copied in (pickle.loads(pickle.dumps(layers)), copy.deepcopy(layers)):
        assert copied == layers
        same(copied(picture()), layers(picture()))


def test_the_ending_of_a_file_may_have_any_case(file: Path) -> None:
    upper = file.rename(file.with_name("NET.Onnx"))
    text = f"{upper}:{NAMES[0]}"
    layers = open_features(text, CPU)
    assert isinstance(layers, OnnxLayers)
    assert (layers.path, layers.tensors, str(layers)) == (str(upper), NAMES[:1], text)
    assert open_features(text, CPU) is layers


def test_names_with_the_separators_in_them(tmp_path: Path) -> None:
    odd = "a,b?c&d=1%2C;é e:0"
    nodes = (helper.make_node("Relu", ["first"], [odd]),)
    path = graph(tmp_path / "net.onnx", extra=nodes)
    layers = OnnxLayers(str(path), (odd, "third"))
    assert OnnxLayers.parse(str(layers)) == layers


@pytest.mark.parametrize(
    "options", ["size=3,4", "mean=0.5,0.5", "mean=a,b,c", "layout", "mean=0,0,0&mean=0,0,0", "&"]
)
def test_options_are_checked(file: Path, options: str) -> None:
    with pytest.raises(InputError, match="expected"):
        OnnxLayers.parse(f"{file}:third?{options}")


def test_the_package_onnx_is_imported_by_who_needs_it() -> None:
    code = "import sys, iassa.methods, iassa.cli; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- in a method ------------------------------------------------------------------------------


def brightness(images: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.stack([images[:, 6:14, 10:20].mean((1, 2, 3)), images.mean((1, 2, 3))], axis=1)


@pytest.mark.parametrize("kind", [Iassa, IassaPaper])
def test_the_same_map_as_with_torch_and_a_record_that_opens_again(
    file: Path, kind: type[Iassa | IassaPaper], tmp_path: Path
) -> None:
    image = 0.3 * picture(30, 42).permute(1, 2, 0).numpy()
    image[6:14, 10:20] += 0.7
    size = {"round_calls": 64} if kind is Iassa else {"window": 60.0, "stride": 30.0}
    fields = {"positions": 14, "beta": 0.3, "baseline": 0.0, **size}

    def run(features: Any) -> iassa.Explanation:
        method = kind(features=features, **fields)
        return iassa.explain(image, brightness, method=method, calls=150, seed=3)

    expected = run(hooks(normalise=normalise))
    layers = OnnxLayers(str(file), NAMES, mean=MEAN, std=STD)
    found = run(layers)
    span = np.ptp(expected.saliency)
    np.testing.assert_allclose(found.saliency, expected.saliency, atol=steps(32, expected.saliency))
    assert np.abs(run("none").saliency - expected.saliency).max() > 0.05 * span
    found.save(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "explanation.json").read_text("utf-8"))["method"]
    assert record["fields"]["features"] == str(layers)
    again = open_method(record["name"], **record["fields"])
    np.testing.assert_array_equal(run(again.features).saliency, found.saliency)
    assert again.as_dict() == found.method


def test_a_reference_is_opened_once_and_again_when_the_file_changes(file: Path) -> None:
    text = f"{file}:{NAMES[0]}"
    first = open_features(text, CPU)
    assert open_features(text, CPU) is first
    graph(file, (1, 3, 48, 80))
    second = open_features(text, CPU)
    assert second is not first
    assert second(picture())[0].shape == (4, 24, 40)


def test_a_bad_reference_is_refused_before_the_black_box_is_asked(file: Path) -> None:
    with pytest.raises(InputError, match="names of tensors inside"):
        Iassa(features=f"{file}:nowhere")
    with pytest.raises(InputError, match="No such file"):
        IassaPaper(features="missing.onnx:third")
    with pytest.raises(InputError, match="to be feature maps"):
        Iassa(features=f"{file}:logits")


OWN = """
import iassa
class Own:
    opened = 0
    def __init__(self):
        Own.opened += 1
    def __call__(self, image):
        return (image[:, ::2, ::2],)
def factory():
    return Own()
instance = iassa.models.ColourPosition(position=2.0)
number = 3
def network():
    import torch
    return torch.nn.Conv2d(3, 4, 1)
"""


def test_extractors_named_by_module_and_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_features.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert open_features("own_features:instance", CPU) == ColourPosition(position=2.0)
    image = picture(28, 36).permute(1, 2, 0).numpy()
    for reference in ("own_features:factory", "own_features:Own"):
        method = Iassa(features=reference, round_calls=32, positions=7)
        for seed in range(2):
            found = iassa.explain(image, brightness, method=method, calls=40, seed=seed)
        assert found.method["fields"]["features"] == reference
    assert sys.modules["own_features"].Own.opened == 2  # once for each reference
    for reference, word in (
        ("own_features:number", "to be an extractor.* got int"),
        ("own_features:network", "got Conv2d. Wrap a torch module"),
        ("own_features:nothing", "cannot open own_features:nothing"),
        ("no_such_module:x", "cannot open"),
    ):
        with pytest.raises(InputError, match=word):
            Iassa(features=reference)
    del sys.modules["own_features"]
