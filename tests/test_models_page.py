"""What docs/models.md says is run as it stands, each framework in processes of its own.

`make test-tensorflow` runs the part about Keras with TensorFlow below it, which is too large for
the environment of all tests.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import iassa
import pages
from rounding import steps

PAGE = (Path(__file__).parents[1] / "docs/models.md").read_text("utf-8")
SIZE = (48, 64)
REGION = (slice(12, 36), slice(36, 60))  # nothing else is looked at by any of the models
BACKEND = os.environ.get("KERAS_BACKEND", "jax")

# Each makes a network, saves it, and says what the framework itself scores.
MAKERS = {
    "digits": """
import joblib
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

images, classes = np.load("images.npy"), np.load("classes.npy")
grey = images.mean(axis=3).reshape(len(images), -1)
seen = ColumnTransformer([("seen", "passthrough", np.load("region.npy"))])
classifier = make_pipeline(seen, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
classifier.fit(grey[20:], classes[20:])
joblib.dump(classifier, "digits.joblib")
np.save("expected.npy", np.concatenate([classifier.predict_proba(grey[[k]]) for k in range(20)]))
""",
    "keras_network": """
import os

import keras
import numpy as np

assert keras.config.backend() == os.environ["KERAS_BACKEND"]
keras.utils.set_random_seed(0)
images, classes = np.load("images.npy"), np.load("classes.npy")
network = keras.Sequential(
    [
        keras.Input((48, 64, 3)),
        keras.layers.Cropping2D(((12, 12), (36, 4))),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 5, strides=3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
network.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
network.fit(255 * images[20:], classes[20:], epochs=8, verbose=0)
network.save("network.keras")
scores = keras.ops.convert_to_numpy(network(255 * images[:20], training=False))
np.save("expected.npy", scores)
""",
    "jax_network": """
import jax
import jax.numpy as jnp
import numpy as np

images, classes = np.load("images.npy"), np.load("classes.npy")
rng = np.random.default_rng(0)
# Windows of 4 x 4 every 2 pixels; the rows of `dense` for those outside of the region stay 0.
inside = np.zeros((23, 31, 6), np.float32)
inside[6:17, 18:29] = 1
inside = inside.reshape(-1, 1)
weights = {
    "kernel": rng.normal(0, 0.2, (4, 4, 3, 6)).astype(np.float32),
    "bias": np.zeros(6, np.float32),
    "dense": rng.normal(0, 0.05, (inside.size, 10)).astype(np.float32) * inside,
}


def loss(weights, images, classes):
    seen = jax.lax.conv_general_dilated(
        images, weights["kernel"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = jax.nn.relu(seen + weights["bias"]).reshape(len(images), -1) @ weights["dense"]
    return -jax.nn.log_softmax(found)[jnp.arange(len(classes)), classes].mean()


slope = jax.jit(jax.grad(loss))
for step in range(100):
    some = rng.choice(np.arange(20, len(images)), 64, replace=False)
    steps = slope(weights, images[some], classes[some])
    weights = {name: weights[name] - 0.3 * np.asarray(steps[name]) for name in weights}
    weights["dense"] = weights["dense"] * inside
np.savez("weights.npz", **weights)

# The same by hand, in NumPy.
expected = []
for image in images[:20].astype(np.float64):
    seen = np.array(
        [
            [
                np.tensordot(image[2 * r : 2 * r + 4, 2 * c : 2 * c + 4], weights["kernel"], 3)
                for c in range(31)
            ]
            for r in range(23)
        ]
    )
    powers = np.exp(np.maximum(seen + weights["bias"], 0).reshape(-1) @ weights["dense"])
    expected.append(powers / powers.sum())
np.save("expected.npy", expected)
""",
}
ASK = """
import sys
import numpy as np
import iassa

model = iassa.open_model(sys.argv[1])
images = np.load("images.npy")[:20]
np.save("scores.npy", model(images))
np.save("by one.npy", np.concatenate([model(images[[k]]) for k in range(3)]))
assert iassa.open_model(sys.argv[1]).identity() == model.identity()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with handwritten digits in one region of grey noise, and a photograph of one."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    rng = np.random.default_rng(0)
    count = 600
    images = rng.uniform(0, 0.6, (count, *SIZE, 3)).astype(np.float32)
    images[:, *REGION] = np.kron(digits.images[:count, :, :, None] / 16, np.ones((3, 3, 1)))
    np.save("images.npy", images)
    np.save("classes.npy", digits.target[:count])
    inside = np.zeros(SIZE, bool)
    inside[REGION] = True
    np.save("region.npy", np.flatnonzero(inside))
    Image.fromarray(np.rint(255 * images[3]).astype(np.uint8)).save("PHOTO.png")
    return tmp_path


def run(*arguments: str) -> str:
    """A process in the current folder, where the page has its files."""
    paths = os.pathsep.join(sys.path)
    environment = {"PYTHONPATH": paths, "KERAS_BACKEND": BACKEND, "KERAS_HOME": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SLOW_TO_IMPORT = {"keras_network", "jax_network"}  # in four processes, one of which trains


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.thorough] if name in SLOW_TO_IMPORT else [])
        for name in MAKERS
    ],
)
def test_the_models_of_the_page(name: str, place: Path) -> None:
    files = {one.file: one.code for one in pages.blocks("docs/models.md") if one.file}
    assert {f"{one}.py" for one in MAKERS} == set(files)
    (place / f"{name}.py").write_text(files[f"{name}.py"])
    run("-c", MAKERS[name])
    expected = np.load("expected.npy")
    assert (expected.argmax(1) == np.load("classes.npy")[:20]).mean() > 0.7  # it has learned

    run("-c", ASK, f"{name}:model")
    np.testing.assert_allclose(np.load("scores.npy"), expected, rtol=1e-4, atol=steps(64, 1.0))
    np.testing.assert_allclose(np.load("by one.npy"), expected[:3], rtol=1e-4, atol=steps(64, 1.0))

    (block,) = pages.blocks("docs/models.md", "Models of any framework")
    words = shlex.split(block.code.replace("digits:model", f"{name}:model"))
    run("-m", *words, "--method", "sliding-window")
    explanation = iassa.Explanation.load("explanations/PHOTO")
    (target,) = explanation.targets
    assert target.indices == (3,)
    assert target.name == ("3" if name == "digits" else "class 3")
    assert explanation.model.endswith(" 1")
    saliency = explanation.saliency[0]
    near = np.zeros(SIZE, bool)  # a window is 10.7 pixels high and wide
    near[12 - 12 : 36 + 12, 36 - 12 : 60 + 4] = True
    there = np.zeros(SIZE, bool)
    there[REGION] = True
    assert np.abs(saliency[~near]).max() < steps(64, 1.0)  # what is not looked at has no effect
    assert there[np.unravel_index(saliency.argmax(), SIZE)]
    assert saliency[there].mean() > 0.02


def test_naming_a_model_runs_its_code_and_the_page_says_so(place: Path) -> None:
    (place / "telling.py").write_text("print('run')\ndef scores(images): ...\n")
    assert "run" in run("-c", "from iassa import open_model as o; o('telling:scores')")
    assert "**Naming an attribute runs the code of\nits module.**" in PAGE
