"""Which images a gallery has, where their results go, and what its pages say."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.errors import InputError
from iassa.gallery.entry import Entry, Mark, make_entry, pack_mark, read_mark
from iassa.gallery.pages import is_ours, render_gallery, render_photo
from iassa.gallery.photos import Photo, find_photos, names_several
from iassa.metrics import border_share


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def places(*paths: str) -> dict[str, str]:
    """The folder of the result of each image, by its name."""
    return {photo.name: photo.folder for photo in find_photos([*map(Path, paths)]).photos}


# Which images there are.


def test_a_folder_has_the_images_in_it_and_below() -> None:
    touch("p/b.PNG", "p/a.jpg", "p/sub/deep/c.webp", "p/notes.txt", "p/.hidden.png", "p/.d/e.png")
    Path("p/link.tif").symlink_to("gone")
    found = find_photos([Path("p")])
    assert found.folder == "p"
    assert places("p") == {
        "a.jpg": "a",
        "b.PNG": "b",
        "link.tif": "link",  # which will be told
        "sub/deep/c.webp": "sub/deep/c",
    }
    assert [str(photo.path) for photo in found.photos][:2] == ["p/a.jpg", "p/b.PNG"]


def test_the_current_folder_has_a_name(workplace: Path) -> None:
    touch("a.png")
    found = find_photos([Path()])
    assert (found.folder, str(found.photos[0].path)) == (workplace.name, "a.png")


def test_pictures_beside_a_saved_explanation_are_no_images() -> None:
    touch("p/a.png", "p/out/a/explanation.json", "p/out/a/overlay-0.png", "p/out/b.png")
    assert [*places("p")] == ["a.png", "out/b.png"]
    assert [*places("p/**/*.png")] == ["a.png", "out/b.png"]
    touch("only/explanation.json", "only/overlay-0.png")
    with pytest.raises(InputError, match="expected images in only, got no file named"):
        find_photos([Path("only")])


def test_a_pattern_has_the_files_that_it_matches() -> None:
    touch("p/a1.png", "p/a2.dat", "p/b1.png", "p/sub/a3.png", "p/ab/x.png")
    assert places("p/a*") == {"a1.png": "a1", "a2.dat": "a2"}
    assert [*places("p/**/a?.*")] == ["a1.png", "a2.dat", "sub/a3.png"]
    assert [*places("[pq]/a[12].*")] == ["p/a1.png", "p/a2.dat"]
    for pattern in ("p/c*", "q/*.png", "p/su*"):
        with pytest.raises(InputError, match=r"expected images named .* Check the pattern"):
            find_photos([Path(pattern)])


def test_a_file_with_the_name_of_a_pattern_is_a_file() -> None:
    touch("p/[a].png", "p/a.png")
    assert not names_several(Path("p/[a].png"))
    assert names_several(Path("p/[ab].png"))
    assert [*places("p/[a].png")] == ["[a].png"]


def test_several_folders_have_their_names_in_common() -> None:
    touch("one/a.png", "two/a.png", "two/b.png")
    assert places("one", "two/b.png") == {"one/a.png": "one/a", "two/b.png": "two/b"}
    assert places("two/b.png", "two/a.png") == {"b.png": "b", "a.png": "a"}


def test_a_file_that_is_named_twice_is_one_image() -> None:
    touch("p/a.png", "p/b.png")
    Path("p/c.png").symlink_to("a.png")  # a link is an image of its own
    found = find_photos([Path("p"), Path("p/../p/b.png"), Path("p/*a.png")])
    assert [photo.name for photo in found.photos] == ["a.png", "b.png", "c.png"]
    assert found.repeated == ("p/../p/b.png", "p/a.png")


def test_results_of_like_names_have_places_of_their_own() -> None:
    touch("p/a.png", "p/a.jpg", "p/A.gif", "p/b.png", "p/b/x.png", "p/index.html.png")
    touch("p/gallery.json.png", "p/what?.png", "p/con.png", "p/q:r/x.png")
    assert places("p") == {
        "A.gif": "A.gif",
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "b.png": "b.png",
        "b/x.png": "b/x",
        "con.png": "_con",
        "gallery.json.png": "gallery.json.png",
        "index.html.png": "index.html.png",
        "q:r/x.png": "q_r/x",
        "what?.png": "what_",
    }


def test_results_that_would_be_one_are_refused() -> None:
    touch("p/a?.png", "p/a*.png")
    with pytest.raises(InputError, match=r"different names.* got two for a_\.png"):
        find_photos([Path("p")])


# What the pages say.

ODD = "<img src=x onerror=alert(1)>&\"' \x1b[2J\u202e#%.png"


def explained(size: tuple[int, int] = (40, 56), seed: int = 0) -> iassa.Explanation:
    image = np.random.default_rng(seed).random((*size, 3), np.float32)
    model = iassa.models.FunctionModel(
        lambda images: np.stack([images[:, :9].mean((1, 2, 3)), images.mean((1, 2, 3))], 1),
        class_names=(ODD, "plain"),
    )
    return iassa.explain(image, model, target=[0, 1], method="rise", calls=60)


def entry_of(explanation: iassa.Explanation) -> Entry:
    pictures = ["overlay-0.png", "overlay-1.png", "sheet.png"]
    return make_entry(explanation, pictures, Mark(run="r", image="i"), "e")[0]


class Page(HTMLParser):
    """The elements of a page, its words, and what its scripts hold."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.script = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.script += data
        self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.elements.append(("/script", {}))

    def all(self, tag: str, attribute: str) -> list[str]:
        return [str(held[attribute]) for name, held in self.elements if name == tag]


@pytest.mark.parametrize("name", [ODD, "sub/plain.png", os.fsdecode(b"\xff\xfe.png")])
def test_names_only_show_and_lead_to_their_files(name: str, workplace: Path) -> None:
    photo = Photo(name, Path("p") / name, f"sub/{name.replace('/', '_')}")
    explanation = explained()
    entry = entry_of(explanation)
    bad = Photo(f"bad {name}", Path("p/bad"), "bad")
    page = Page(render_gallery(ODD, [photo, bad], {photo: entry}, {bad: f"no {name}"}, "effect"))
    plain = iassa.errors.plain(name)
    assert {plain, f"bad {plain}", f"no {plain}"} <= set(page.words)
    assert len(page.all("img", "src")) == 1
    (link,) = [href for href in page.all("a", "href") if not href.startswith("#")]
    assert os.fsdecode(unquote_to_bytes(link)) == f"{photo.folder}/index.html"
    assert page.all("li", "data-name") == [plain]
    own = Page(render_photo(photo, explanation, entry))
    assert own.all("img", "src") == ["sheet.png", "overlay-0.png", "overlay-1.png"]
    assert own.all("a", "href") == ["../../index.html", "explanation.json"]
    assert iassa.errors.plain(ODD) in own.words
    for one in (page, own):
        assert {tag for tag, _ in one.elements if tag != "/script"} <= {
            *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "a", "div"),
            *("button", "ul", "li", "img", "strong", "span", "small", "b", "dl", "dt", "dd"),
            *("table", "thead", "tbody", "tr", "th", "td", "script"),
        }
        assert not any(key.startswith("on") for _, held in one.elements for key in held)


def test_only_the_script_of_the_page_may_run() -> None:
    content = render_gallery("title", [], {}, {}, "effect")
    page = Page(content)
    policy = next(held["content"] for tag, held in page.elements if held.get("http-equiv"))
    digest = hashlib.sha256(page.script.encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in str(policy)
    assert "default-src 'none'" in str(policy)
    assert not re.search(rb"https?:", content)


def test_a_card_holds_what_it_is_sorted_by() -> None:
    explanation = explained()
    photos = [Photo(f"{k}.png", Path(f"{k}.png"), f"{k}") for k in range(3)]
    entries = {
        photos[0]: entry_of(explanation),
        photos[2]: entry_of(
            iassa.explain(
                explanation.image,
                lambda x: x.mean((1, 2)),
                method="kernel-shap",
                calls=60,
                target=0,
            )
        ),
    }
    page = Page(render_gallery("title", photos, entries, {}, "effect"))
    assert page.all("li", "data-name") == ["0.png", "2.png"]
    assert page.all("li", "data-error") == [repr(explanation.relative_error), "Infinity"]
    shares = [border_share(one) for one in explanation.saliency]
    assert page.all("li", "data-border")[0] == repr(max(shares))
    assert page.all("li", "data-score")[0] == repr(explanation.scores[0])
    words = " ".join(page.words)
    assert "2 images of 3; 1 not explained yet: the same command goes on" in words
    assert "error not known" in words
    assert "and 1 more" in words


@pytest.mark.parametrize(("size", "drawn"), [((40, 56), (56, 40)), ((300, 1000), (320, 96))])
def test_a_thumbnail_is_small_and_an_entry_comes_back(
    size: tuple[int, int], drawn: tuple[int, int], workplace: Path
) -> None:
    entry, thumbnail = make_entry(explained(size), [], Mark(run="r", image="i"), "e")
    Path("thumbnail.jpg").write_bytes(thumbnail)
    with Image.open("thumbnail.jpg") as picture:
        assert (picture.format, picture.size, entry.size) == ("JPEG", drawn, drawn)
    assert read_mark(workplace) is None
    (workplace / "entry.json").write_bytes(pack_mark(entry))
    assert read_mark(workplace) == entry
    mark = Mark(run="r", image="i")
    (workplace / "entry.json").write_bytes(pack_mark(mark))
    assert read_mark(workplace) == mark


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"run": 3}', "\x00", '{"a":' * 99])
def test_a_damaged_entry_is_none(content: str, workplace: Path) -> None:
    (workplace / "entry.json").write_text(content)
    assert read_mark(workplace) is None


def test_pages_of_others_are_told_from_ours(workplace: Path) -> None:
    page = workplace / "index.html"
    assert not is_ours(page)
    page.write_text("<title>my page</title>")
    assert not is_ours(page)
    page.write_bytes(render_gallery("t", [], {}, {}, "effect"))
    assert is_ours(page)
