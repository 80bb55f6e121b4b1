"""A report is one file that asks no server for anything; what came with the corpus is shown and not understood."""

import re
from html.parser import HTMLParser

import pytest
from outputs import HOSTILE, launch, make_output

from ulmfit_ray.reporting.report_facts import gather
from ulmfit_ray.reporting.report_page import escaped, report_page, shown
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.launches import write_launches
from ulmfit_ray.storage.manifest import Manifest, write_manifest

FAILURE = f"RuntimeError: 1 units failed\n    part-0000041: {HOSTILE}"


class _Page(HTMLParser):
    """The tags of a page, its texts, and all places that its attributes lead to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.places: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == [], "every element that was begun must end"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "poster", "data"):
                self.places.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Folder) -> tuple[str, _Page]:
    page = report_page(gather(folder))
    return page, _Page(page)


@pytest.fixture
def finished(folder: Folder) -> Folder:
    make_output(folder, launches=(launch(1, "interrupted"), launch(2, "running"), launch(3, "finished")))
    return folder


@pytest.fixture
def failed(folder: Folder) -> Folder:
    make_output(folder, num_done=41, launches=(launch(1, "failed", FAILURE),))
    return folder


@pytest.mark.parametrize("kind", ["finished", "failed"])
def test_a_report_asks_no_server_for_anything_and_runs_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    page, parsed = page_of(request.getfixturevalue(kind))
    assert all(place.startswith("data:") for place in parsed.places), parsed.places
    assert not parsed.tags & {"script", "iframe", "object", "embed", "base", "form", "svg", "audio", "video"}
    assert not parsed.handlers
    assert "url(" not in page
    assert "@import" not in page
    assert len(page) < 100_000


def test_what_came_with_the_corpus_is_shown_and_not_understood(failed: Folder) -> None:
    page, parsed = page_of(failed)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<script>alert('id')</script><img src=x onerror=alert(1)>\\u202e\\ud800\\x00 & \" '" in parsed.text
    # In the reason of the launch, in a failed unit, in the quarantine's reason, place and detail, in the config.
    assert page.count("&lt;script&gt;") >= 6
    page.encode()


def test_a_finished_report_begins_with_the_figures_that_matter(finished: Folder) -> None:
    page, parsed = page_of(finished)
    assert "<title>tokenize: finished</title>" in page
    cards = dict(reversed(pair) for pair in re.findall(r"<div><b>(.*?)</b><span>(.*?)</span></div>", page))
    assert cards["documents"] == "46,860"
    assert cards["quarantined"] == "6"
    assert cards["units done"] == "60"
    assert cards["time"] == "3 min"
    num_tokens = int(cards["tokens"].replace(",", ""))
    assert cards["tokens per second"] == f"{num_tokens / 190:,.0f}"
    for text in ("no word of its end", "in 3 launches", "ray 2.60.0", "unknown rate", "0.0123", "xxmaj", finished.uri):
        assert text in parsed.text
    slowest = re.search(r"Slowest.*?(part-\d+).*?<td.*?>(.*?)</td>", page, re.DOTALL)
    assert slowest is not None
    assert slowest.group(1) == "part-0000003"
    assert float(slowest[2]) >= 30
    assert "corpus/003-" in parsed.text
    heights = [float(height) for height in re.findall(r'<i style="height:([\d.]+)%"', page)]
    assert max(heights) == 100
    assert 8 <= len(heights) <= 40


def test_an_unfinished_report_says_why_and_how_it_goes_on(failed: Folder) -> None:
    page, parsed = page_of(failed)
    assert "<title>tokenize: failed, unfinished</title>" in page
    assert "1 units failed" in parsed.text
    assert "The same command goes on from here:ulmfit-ray tokenize --input corpus.jsonl" in parsed.text
    assert "41 of 60" in parsed.text
    assert "part-0000041: ValueError" in parsed.text
    assert "Expecting ',' at" in parsed.text


def test_units_of_which_none_is_done_are_no_trouble(folder: Folder) -> None:
    make_output(folder, num_done=0, launches=(launch(1, "failed", "why"),))
    _, parsed = page_of(folder)
    assert "0 of 60" in parsed.text
    assert "Slowest" not in parsed.text


def test_a_report_of_a_job_that_runs_or_was_killed_does_not_say_that_it_has_failed(failed: Folder) -> None:
    write_launches(failed, [launch(1, "failed", FAILURE), launch(2, "running")])
    page, parsed = page_of(failed)
    assert "<title>tokenize: running</title>" in page
    assert "or killed since then" in parsed.text
    assert "What happened" not in parsed.text


def test_the_curves_of_a_training_stand_in_the_file(folder: Folder) -> None:
    job = JobRecord("pretrain", "ulmfit-ray pretrain", {"training": {"bptt": 70}}, {})
    folder.publish_json({"job": job.to_json()}, "config.json")
    row = '{"step": %d, "epoch": 1, "loss": 4.5, "learning_rate": 0.01, "tokens": 1000, "seconds": 0.5}\n'
    log = "".join(row % step for step in range(1, 30)).encode()
    folder.publish_bytes(log, "checkpoints/step-0000029/training_log.jsonl")
    folder.publish_json({}, "checkpoints/step-0000029/checkpoint.json")
    write_launches(folder, [launch(1, "interrupted", "stopped at step 29")])
    page, parsed = page_of(folder)
    assert [place[:22] for place in parsed.places] == ["data:,", "data:image/png;base64,"]
    assert "2,000" in parsed.text
    assert "interrupted, unfinished" in page
    folder.publish_bytes(log, "training_log.jsonl")
    folder.publish_bytes(b"PNG", "curves.png")
    figures = {"perplexity": 91.2345, "num_steps": 29, "num_parameters": 123_456}
    write_manifest(folder, Manifest(job="pretrain", vocab="v", tokenizer="t", files={}, figures=figures))
    page, parsed = page_of(folder)
    assert "data:image/png;base64,UE5H" in parsed.places
    cards = re.findall(r"<div><b>(.*?)</b><span>(.*?)</span></div>", page)
    assert ("91.23", "perplexity") in cards
    assert ("123,456", "parameters") in cards


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "none"),
        (True, "yes"),
        ([], "none"),
        ((1234, "a<b"), "1,234, a&lt;b"),
        ({"a": 1}, "a 1"),
        (0.01234, "0.01234"),
        ("x" * 400, "x" * 300 + " ..."),
    ],
    ids=str,
)
def test_values_are_shown_as_a_person_reads_them(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert escaped("a\u202eb\x00\n\u00e4\ud800") == "a\\u202eb\\x00\n\u00e4\\ud800"
