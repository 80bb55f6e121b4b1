"""The page of a map: what it holds, that texts are only texts in it, and that it asks nobody for anything."""

import base64
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from map_pages import HOSTILE, TITLES, data_of, page_of

from ulmfit_ray.reporting.map_colors import GREY, LEVELS, Groups, Scale
from ulmfit_ray.reporting.map_page import LONGEST_TEXT, embedded_json, map_page, page_texts


def decoded(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_page_has_all_documents_with_their_places_titles_and_clusters() -> None:
    data = data_of(page_of(60))
    places = decoded(data["places"], "<f4").reshape(60, 2)
    assert places.min() == 0
    assert places.max() == 1
    assert [column["name"] for column in data["columns"]] == ["title", "doc_id"]
    assert data["columns"][0]["values"] == TITLES * 10
    (clusters,) = data["colorings"]
    assert clusters["labels"] == ["one, two, three", HOSTILE, "(none)"]
    assert decoded(clusters["numbers"], "u1").tolist() == [0, 1] * 30
    assert clusters["sizes"] == [30, 30, 0]
    assert [name["text"] for name in data["names"]] == ["one, two, three", HOSTILE]
    assert data["note"] == ""


def test_what_is_above_on_a_plot_is_above_on_the_page() -> None:
    clusters = Groups("cluster", ("a",), np.zeros(2, np.uint8))
    page = map_page(np.array([[0.0, 1.0], [2.0, 5.0]]), {"t": ["low", "high"]}, [], clusters, num_documents=2).decode()
    (_, low), (_, high) = decoded(data_of(page)["places"], "<f4").reshape(2, 2)
    assert high < low


def test_a_text_cannot_leave_the_data() -> None:
    page = page_of()
    assert page.count("</script>") == page.count("<script") == 2
    assert "onerror=alert(1)>" not in page
    assert "<img" not in page


@pytest.mark.parametrize("text", [HOSTILE, "<!--<script>", "]]>", "\u2029", "\x00", "{{style}}", "a\nb"])
def test_embedded_json_is_the_same_text_without_a_letter_that_html_understands(text: str) -> None:
    written = embedded_json({"a": [text]})
    assert json.loads(written) == {"a": [text]}
    assert not set("<>&\u2028\u2029") & set(written)


def test_half_a_surrogate_pair_does_not_break_the_page() -> None:
    assert json.loads(embedded_json(["a\ud800b"])) == ["a?b"]


def test_the_page_names_no_address_outside_of_its_data() -> None:
    before, data, after = re.split(r'(<script type="application/json".*?</script>)', page_of(), flags=re.DOTALL)
    for part in (before, after):
        # Comments of the scripts begin with two slashes and a space.
        assert not re.search(r"https?:|//(?! )|url\(|@import|\bsrc=|\bhref=|fetch\(|XMLHttp|WebSocket|sendBeacon", part)
    assert "default-src 'none'" in before
    assert "Protein folding" in data


def test_nothing_of_the_template_is_left_open() -> None:
    page = page_of()
    assert re.findall(r"\{\{\w+\}\}", page.replace("{{data}}", "", page.count("{{data}} "))) == []
    assert "<h1>60 documents</h1>" in page


def test_numbers_are_steps_of_a_scale_with_its_ends() -> None:
    scale = Scale("year", np.array([*np.linspace(2000, 2020, 59), np.nan]))
    coloring, clusters = data_of(page_of(60, (scale,)))["colorings"]
    assert (coloring["name"], coloring["ends"], clusters["name"]) == ("year", ["2000", "2020"], "cluster")
    assert decoded(coloring["numbers"], "u1")[[0, 58, 59]].tolist() == [0, LEVELS - 1, LEVELS]
    assert (len(coloring["colors"]), coloring["colors"][-1]) == (LEVELS + 1, GREY)


def test_a_scale_says_where_numbers_lie_beyond_it() -> None:
    scale = Scale("year", np.array([-1e6, *range(300), 1e6]))
    (coloring, _) = data_of(page_of(302, (scale,)))["colorings"]
    assert coloring["ends"] == ["\u2264 2", "\u2265 297"]


def test_a_part_of_the_documents_is_said_to_be_one() -> None:
    page = page_of(60, total=1000)
    assert "<h1>1,000 documents</h1>" in page
    assert data_of(page)["note"] == "60 of them shown, drawn at random"


def test_texts_are_cut_where_they_are_long_and_empty_where_there_is_none() -> None:
    values = pa.array(["a" * LONGEST_TEXT, "b" * 1000, None]).to_pylist()
    assert page_texts([*values, ["x", "y"], 3.5]) == [values[0], "b" * 299 + "\u2026", "", "x, y", "3.5"]


def test_a_single_document_has_a_page() -> None:
    assert data_of(page_of(1))["extent"] == [0, 0]
