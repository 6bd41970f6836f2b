"""The live page in Chromium: by mouse, by keys, on a phone."""

from __future__ import annotations

import io
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from app_server import running
from app_shelf import make_shelf
from iassa.app.sessions import Limits

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
WAIT = 60_000  # milliseconds that a busy machine may need
expect = playwright.expect

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    shelf = tmp_path_factory.mktemp("shelf")
    make_shelf(shelf)
    with running([shelf], Limits(gone=60)) as (_, access):
        yield access.url


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page; what goes wrong in it, or leaves this machine, fails the test."""
    wrong = []
    contexts = []

    def open_page(width=1280, height=900, url=address, **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: one.url.startswith(url) or wrong.append(one.url))
        page.on(
            "console",
            lambda said: (
                said.type == "error"
                and "status of 400" not in said.text
                and wrong.append(said.text)
            ),
        )
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def photo(height=40, width=60):
    pixels = np.random.default_rng(5).integers(0, 120, (height, width, 3), np.uint8)
    pixels[:, : width // 3] += 120
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"name": "left.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def upload(page, model="cheap", file=None):
    expect(page.locator("#form")).to_be_visible(timeout=WAIT)  # its buttons do something
    page.set_input_files("#file", file or photo())
    expect(page.locator("#start")).to_be_enabled(timeout=WAIT)
    if model != "cheap":
        with page.expect_response("**/look"):
            page.select_option("#model", model)
        expect(page.locator("#start")).to_be_enabled(timeout=WAIT)


def start(page, calls=120):
    page.fill("#calls", str(calls))
    page.click("#start")


def see_status(page, text, pane=0):
    expect(page.locator(".pane .status").nth(pane)).to_contain_text(text, timeout=WAIT)


def see_picture(page, selector=".pane .above"):
    expect(page.locator(selector).first).to_have_js_property("naturalWidth", 640, timeout=WAIT)


def test_a_map_is_watched_stopped_and_extended(visit):
    page = visit()
    upload(page, "slow")
    start(page, 5000)
    see_picture(page)
    status = page.locator(".pane .status")
    calls = []
    while len(calls) < 3:
        now = int(re.search(r"(\d+) of 5000 calls", status.text_content())[1])
        if now not in calls:
            calls.append(now)
    assert calls == sorted(calls)
    see_status(page, "a second")  # a rate is told once a second has been measured
    see_status(page, "left")
    page.click(".stop")
    see_status(page, "stopped")
    see_picture(page)
    page.fill(".adding input", "40")
    page.click(".more")
    see_status(page, "done")
    assert "error" in status.text_content()

    page.hover(".pane .stage")
    expect(page.locator(".pane .value")).to_have_text(
        re.compile(r"row \d+, column \d+: [-\d.e]+ ± [\d.e-]+"), timeout=WAIT
    )
    page.check("[name=view][value=alone]")
    expect(page.locator(".pane .answer")).to_contain_text("10 % alone score", timeout=WAIT)
    page.click(".measure")
    expect(page.locator(".curves polyline")).to_have_count(2, timeout=WAIT)
    before = page.locator(".curves .at").text_content()
    page.locator(".curves input").press("ArrowRight")
    expect(page.locator(".curves .at")).not_to_have_text(before)
    expect(page.locator(".steps img.up")).to_have_js_property("naturalWidth", 320, timeout=WAIT)
    with page.expect_download() as kept:
        page.click(".download")
    with zipfile.ZipFile(kept.value.path()) as archive:
        assert "explanation/explanation.json" in archive.namelist()


def test_two_methods_side_by_side_or_below_each_other(visit):
    page = visit()
    upload(page)
    page.select_option("#second", "rise")
    start(page)
    for pane in (0, 1):
        see_status(page, "done, 120 of 120 calls", pane)
    expect(page.locator("#alike")).to_contain_text("rank correlation", timeout=WAIT)
    first, second = (page.locator(".pane").nth(k).bounding_box() for k in (0, 1))
    assert first["y"] == second["y"]
    assert first["x"] + first["width"] <= second["x"]
    page.set_viewport_size({"width": 360, "height": 740})
    first, second = (page.locator(".pane").nth(k).bounding_box() for k in (0, 1))
    assert first["y"] + first["height"] <= second["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_boxes_are_clicked(visit):
    page = visit(360, 740)
    upload(page, "boxes")
    chosen = page.locator("#offered input")
    expect(chosen).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#boxes rect").nth(1).click()
    page.locator("#boxes rect").nth(0).click()
    assert [chosen.nth(k).is_checked() for k in (0, 1)] == [False, True]
    start(page)
    see_status(page, "done")
    expect(page.locator("tbody th")).to_have_text(["dog"])


def test_what_makes_two_images_alike(visit):
    page = visit()
    upload(page)
    page.click("#comparing summary")
    with page.expect_response("**/look"):
        page.set_input_files("#query", photo() | {"name": "other.png"})
    expect(page.locator("#offered label")).to_contain_text(["1: other.png"], timeout=WAIT)
    start(page, 60)
    see_status(page, "done")
    with page.expect_response("**/look"):
        page.click("#drop-queries")
    expect(page.locator("#offered label")).to_have_count(5, timeout=WAIT)


def test_with_keys_alone(visit):
    page = visit()
    expect(page.locator("#form")).to_be_visible(timeout=WAIT)

    def go_to(selector):
        """By the tabulator, and the focus is seen."""
        wanted = page.locator(selector).first
        for _ in range(60):
            page.keyboard.press("Tab")
            if wanted.evaluate("one => one === document.activeElement"):
                assert wanted.evaluate("one => getComputedStyle(one).outlineStyle") != "none"
                return
        raise AssertionError(f"no way to {selector}")

    go_to("[data-example=cat]")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_enabled(timeout=WAIT)
    go_to("#offered input")
    page.keyboard.press("Space")
    go_to("#search")
    with page.expect_response("**/classes?find=ti"):
        page.keyboard.type("tabby vs ti")
    expect(page.locator("#names option").first).to_have_text("tabby vs tiger cat")
    page.keyboard.type("ger cat")
    page.keyboard.press("Enter")
    go_to("#calls")
    page.keyboard.type("60")  # a focus by keys selects what is there
    go_to("#start")
    page.keyboard.press("Enter")
    see_status(page, "done, 60 of 60 calls")
    expect(page.locator("tbody th")).to_have_text(["tabby vs tiger cat"])
    go_to("[name=view]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[name=view][value=error]")).to_be_checked()
    go_to(".pane .stage")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".pane .value")).to_contain_text("row 159", timeout=WAIT)


def test_a_text_file_is_no_image_and_the_page_goes_on(visit):
    page = visit()
    expect(page.locator("#form")).to_be_visible(timeout=WAIT)
    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    problem = page.locator("#problem")
    expect(problem).to_contain_text("expected an image", timeout=WAIT)
    expect(page.locator("#start")).to_be_disabled()
    upload(page)
    expect(problem).to_be_hidden()


def test_nothing_of_an_earlier_run_stays(visit):
    page = visit()
    upload(page)
    start(page)
    see_status(page, "done")
    page.click(".measure")
    expect(page.locator(".curves polyline")).to_have_count(2, timeout=WAIT)
    expect(page.locator(".curves .of")).to_contain_text("by the map of 120 calls")
    first = page.locator(".pane .above").get_attribute("src")
    page.fill("#seed", "1")  # the same target, and the same number of maps
    page.click("#start")
    expect(page.locator(".curves")).to_be_hidden(timeout=WAIT)
    see_status(page, "done")
    see_picture(page)
    assert page.locator(".pane .above").get_attribute("src") != first


def test_before_a_map_there_is_no_empty_picture(visit):
    page = visit()
    upload(page)
    page.fill("#search", "no such class")
    page.click("#add")
    page.click("#start")
    see_status(page, "failed")
    expect(page.locator(".message")).to_contain_text("unknown class 'no such class'")
    for part in (".stage .above", ".scale", ".bar", "table"):
        expect(page.locator(f".pane {part}")).to_be_hidden()
    expect(page.locator(".stage .below")).to_be_visible()


def test_a_model_that_fails_is_told_beside_its_map(visit):
    page = visit()
    upload(page, "failing")
    start(page, 3000)
    see_status(page, "failed")
    expect(page.locator(".message")).to_contain_text("the cable is out")
    see_picture(page)


def test_without_scripts_it_says_what_to_do(visit):
    page = visit(java_script_enabled=False)
    assert "iassa explain PHOTO.jpg" in page.evaluate("document.documentElement.innerText")
    expect(page.locator("#form")).to_be_hidden()


def test_runs_and_galleries_are_browsed(visit):
    page = visit()
    links = page.locator("#places a")
    expect(links).to_have_text([re.compile(r"/cats \(gallery\)$"), re.compile(r"/first \(run\)$")])
    with page.expect_popup() as opened:
        links.nth(0).click()
    gallery = opened.value
    expect(gallery.locator(".cards li")).to_have_count(2)
    gallery.click("button[value=border]")  # its own script may run
    expect(gallery.locator("button[value=border]")).to_have_attribute("aria-pressed", "true")
    picture = gallery.locator(".cards img").first
    expect(picture).not_to_have_js_property("naturalWidth", 0, timeout=WAIT)
    gallery.locator(".cards a").first.click()
    expect(gallery.locator(".pictures img")).not_to_have_js_property(
        "naturalWidth", 0, timeout=WAIT
    )
    with page.expect_popup() as opened:
        links.nth(1).click()
    expect(opened.value.locator("h1")).to_have_text("Benchmark first", timeout=WAIT)
