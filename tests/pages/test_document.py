"""The frame: whole in one file, safe with any text, written in one step."""

import json
import re
from html.parser import HTMLParser

import pytest

from pullback.pages.document import Section, document, fragment, save, table


class Reader(HTMLParser):
    """Checks that elements are closed in order, and notes attributes."""

    VOID = ("meta", "input", "br", "link", "path", "rect")

    def __init__(self):
        super().__init__()
        self.open, self.found = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader.found


HOSTILE = "</script><b onclick='x'> & \u2028"


def test_a_page_needs_nothing_else():
    page = document("a", "b", [Section("One two", "<p>c</p>")], {"x": 1})
    found = read(page)
    for tag, attributes in found:
        assert "src" not in attributes
        assert tag not in ("link", "img", "iframe")
        assert not str(attributes.get("href", "#")).startswith("http")
    assert not re.search(r"@import|url\(h", page)
    assert ("a", {"href": "#one-two"}) in found
    assert any(tag == "section" and a["id"] == "one-two" for tag, a in found)


def test_text_cannot_become_markup():
    page = document(HOSTILE, HOSTILE, [Section(HOSTILE, table([HOSTILE], [[HOSTILE]], HOSTILE))])
    assert not [tag for tag, _ in read(page) if tag == "b"]
    data = document("a", "b", [], {"text": HOSTILE})
    text = re.search(r'id="data">(.*?)</script>', data, re.DOTALL)[1]
    assert json.loads(text) == {"text": HOSTILE}


def test_what_json_has_no_word_for_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        document("a", "b", [], {"x": float("nan")})


def test_tables_name_their_columns_and_rows():
    found = read(table(["a", "b"], [["x", 1], ["y", 2]], "caption", ["r1", "r2"]))
    assert [a.get("scope") for tag, a in found if tag == "th"] == ["col", "col", "row", "row"]
    assert [a["id"] for tag, a in found if tag == "tr" and a] == ["r1", "r2"]
    assert (
        "div",
        {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "caption"},
    ) in found


def test_styles_of_a_fragment_stay_inside():
    style = re.search(r"<style>(.*?)</style>", fragment("<p>x</p>"), re.DOTALL)[1]
    selectors = re.findall(r"([^{}]+)\{", style)
    assert selectors
    assert all(part.strip().startswith(".pullback") for s in selectors for part in s.split(","))


def test_a_failed_write_leaves_the_old_page(tmp_path):
    path = tmp_path / "page.html"
    save(path, "first")
    with pytest.raises(UnicodeEncodeError):
        save(path, "\ud800")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
