"""What a notebook shows: a real kernel runs cells, and sends what a page would draw."""

from __future__ import annotations

import base64
import io
import re
import time
from queue import Empty

import pytest
from jupyter_client.manager import start_new_kernel
from PIL import Image

import iassa
from test_explanation import example

SETUP = """
import time
import numpy as np
import iassa

IMAGE = np.full((24, 36, 3), 0.2, np.float32)
IMAGE[6:12, 8:16] = 1

def brightness(images):
    return np.stack([images[:, 6:12, 8:16].mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3))], 1)

def slow(images):
    time.sleep(0.05)
    return brightness(images)
"""


class Kernel:
    """One that runs a cell and collects what it sends, as (type of message, content)."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(kernel_name="python3")

    def run(self, code, stop_after=None):
        """With `stop_after`, press Stop once so many displays were replaced."""
        wanted = self.client.execute(code)
        sent, replaced = [], 0
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") != wanted:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return sent
            sent.append((kind, content))
            replaced += kind == "update_display_data"
            if stop_after is not None and replaced == stop_after:
                self.manager.interrupt_kernel()
                stop_after = None
        pytest.fail(f"the cell did not end: {sent}")

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    try:
        assert not [content for kind, content in kernel.run(SETUP) if kind == "error"]
        yield kernel
    finally:
        kernel.close()


def shown(sent, kind="execute_result"):
    return [content["data"] for found, content in sent if found == kind]


def printed(sent):
    return "".join(content["text"] for kind, content in sent if kind == "stream")


def picture_in(html):
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    picture.load()
    return picture


def test_an_explanation_shows_itself(kernel):
    (data,) = shown(
        kernel.run("iassa.explain(IMAGE, brightness, target=[0, 1], method='rise', calls=100)")
    )
    assert data["text/plain"].startswith("Explanation(")
    html = data["text/html"]
    assert picture_in(html).width > 300
    assert re.search(r">[^<]*0</td><td[^>]*>1</td><td[^>]*>\d+% of its peak</td>", html)
    for words in ("100 calls in", "all calls were made"):
        assert words in html
    assert "<script" not in html


def test_a_figure_shows_itself_without_a_magic_command(kernel):
    code = "iassa.explain(IMAGE, brightness, method='rise', calls=100).plot()"
    (data,) = shown(kernel.run(code))
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width > picture.height > 100
    (sheet,) = shown(kernel.run(code.replace("plot()", "plot_sheet()")))
    assert "image/png" in sheet
    sent = kernel.run(f"%matplotlib inline\n{code}")
    assert len(shown(sent) + shown(sent, "display_data")) == 1  # with it, once too


def test_a_run_that_is_followed_shows_its_maps_while_it_goes_on(kernel):
    sent = kernel.run(
        "found = iassa.explain(IMAGE, slow, calls=400, batch_size=8, progress=True)\n"
        "print(found.calls, found.stopped)"
    )
    assert printed(sent) == "400 calls\n"
    assert len(shown(sent, "display_data")) == 2
    replaced = [data["text/html"] for data in shown(sent, "update_display_data")]
    lines = [html for html in replaced if "<progress" in html]
    assert len(lines) > 3
    assert all("/400 calls" in line and "left" in line for line in lines)
    maps = [html for html in replaced if "data:image/png" in html]
    assert "it goes on" in maps[0]
    assert "all calls were made" in maps[-1]
    assert replaced[-2:] == ["", maps[-1]]  # the line goes, the map stays


def test_the_stop_button_keeps_the_map(kernel):
    sent = kernel.run(
        "found = iassa.explain(IMAGE, slow, calls=100_000, batch_size=8, progress=True)\n"
        "print(found.stopped, found.complete, found.calls < 100_000, found.saliency.shape)",
        stop_after=3,
    )
    assert printed(sent).endswith("cancelled False True (1, 24, 36)\n")
    assert not [content for kind, content in sent if kind == "error"]
    maps = [data["text/html"] for data in shown(sent, "update_display_data")]
    assert "it was stopped" in maps[-1]
    # More calls, followed in the same way; then Stop is the kernel's again.
    sent = kernel.run(
        "found = iassa.extend(found, slow, calls=80, batch_size=8, progress=True)\n"
        "import signal; print(found.stopped, signal.getsignal(signal.SIGINT).__name__)"
    )
    assert printed(sent).startswith("calls ")
    assert "interrupt" not in printed(sent)


def test_a_model_that_fails_leaves_the_map_so_far_on_the_page(kernel):
    sent = kernel.run(
        "def failing(images):\n"
        "    failing.calls += len(images)\n"
        "    if failing.calls > 200: raise ValueError('enough')\n"
        "    return brightness(images)\n"
        "failing.calls = 0\n"
        "iassa.explain(IMAGE, failing, calls=400, batch_size=8, progress=True)"
    )
    (error,) = [content for kind, content in sent if kind == "error"]
    assert error["ename"] == "RunFailedError"
    assert "the model failed" in shown(sent, "update_display_data")[-1]["text/html"]


# The HTML, without a kernel.


def test_names_are_escaped_and_numbers_are_those_of_the_result():
    name = "<script>alert(1)</script>\x1b[2J"
    hostile = example(
        1,
        targets=(iassa.Target(name, (0,), (1.0,)),),
        warnings=("<b>bold</b>",),
        scores=(0.123456,),
        relative_errors=(float("inf"),),
    )
    html = hostile._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert re.search(r"<td[^>]*>0.123</td><td[^>]*>not known</td>", html)
    assert "warning:</strong> &lt;b&gt;bold" in html


def test_of_many_targets_ten_are_named():
    html = example(12)._repr_html_()
    assert html.count("<tr>") == 1 + 10
    assert "and 2 more targets" in html


# On a terminal, or into a file.


def test_progress_that_is_no_function_and_not_true_is_refused():
    with pytest.raises(iassa.InputError, match="expected progress to be a function or None"):
        iassa.explain(example(1).image, lambda images: images[:, 0, 0], progress="yes")


def test_a_run_that_is_followed_in_a_script_writes_no_bar_into_a_file(capfd):
    image = example(1).image
    made = iassa.explain(
        image, lambda images: images.mean(axis=(1, 2)), method="rise", calls=40, progress=True
    )
    assert made.calls == 40
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
