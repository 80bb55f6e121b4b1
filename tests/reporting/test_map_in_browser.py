"""The page of a map in headless Chromium: `make test-browser`. CHROMIUM names the program, if it is not `chromium`."""

import io
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from map_pages import TITLES, page_of
from matplotlib.image import imread

from ulmfit_ray.reporting.map_colors import COLORS, Groups, Scale

pytestmark = pytest.mark.browser
Browse = Callable[..., str]
SCREENS = {(1400, 900): (slice(150, 890), slice(0, 1050)), (390, 800): (slice(150, 550), slice(0, 390))}
"""Width and height of a screen, and where on it the map is, without the legend: rows and columns."""
LIGHT, DARK = 1, 0


def chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Chromium until the page has come to rest; whatever is printed on its console fails the test."""
    program = os.environ.get("CHROMIUM", "chromium")
    usual = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    done = subprocess.run(
        [program, *usual, "--enable-logging=stderr", "--v=0", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    return done


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Return a function that opens a page, lets a script act on it, and returns the document that comes of it."""

    def open_page(page: str, anchor: str = "", script: str = "") -> str:
        path = tmp_path / "map.html"
        path.write_text(page + (f"<script>addEventListener('load', () => {{ {script} }});</script>" if script else ""))
        return chromium("--dump-dom", "--window-size=1400,900", f"file://{path}{anchor}").stdout

    return open_page


def matching(query: str, num_documents: int) -> int:
    texts = [f"{TITLES[number % len(TITLES)]}\nd{number}".lower() for number in range(num_documents)]
    return sum(all(word in text for word in query.lower().split()) for text in texts)


def said(document: str) -> str:
    found = re.search(r"<output[^>]*>(.*?)</output>", document)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("query", ["protein", "Gene PROTEIN", "d1", "<img", "nothing of the kind"])
def test_a_search_marks_as_many_documents_as_python_counts(browse: Browse, query: str) -> None:
    document = browse(page_of(60), f"#q={quote(query)}")
    expected = matching(query, 60)
    assert f'data-matches="{expected}"' in document
    assert said(document) == f"{expected} documents match"
    assert document.count("<li><button") - 2 == min(50, expected)


def test_texts_of_documents_are_shown_and_not_understood(browse: Browse) -> None:
    document = browse(page_of(60), "#q=onerror", "document.querySelector('#hits button').click();")
    assert "<img" not in document
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in document
    assert '<div id="card" role="status" style=' in document


def test_the_legend_hides_groups_and_says_so(browse: Browse) -> None:
    document = browse(page_of(60), script="document.querySelectorAll('#legend button')[1].click();")
    assert re.findall(r'<button type="button" aria-pressed="(\w+)">', document) == ["true", "false"]


def test_the_mouse_shows_zooms_drags_and_resets(browse: Browse) -> None:
    act = """
        const map = document.getElementById("map"), seen = [];
        const box = map.getBoundingClientRect();
        const at = (kind, x, y) => map.dispatchEvent(new PointerEvent(kind, { clientX: x + box.x, clientY: y + box.y,
            pointerId: 1, pointerType: "mouse", bubbles: true }));
        map.setPointerCapture = () => {};
        const x = (i) => places[2 * i] * view.scale + view.x, y = (i) => places[2 * i + 1] * view.scale + view.y;
        const first = view.scale;
        at("pointermove", x(4), y(4));
        seen.push(document.querySelector("#card b").textContent);
        const [before_x, before_y] = [x(4), y(4)];
        map.dispatchEvent(new WheelEvent("wheel", { deltaY: -500, clientX: before_x + box.x, clientY: before_y + box.y,
            cancelable: true }));
        seen.push(view.scale > first, Math.hypot(x(4) - before_x, y(4) - before_y) < 1.5);
        at("pointerdown", 300, 300); at("pointermove", 340, 320); at("pointerup", 340, 320);
        seen.push(Math.round(x(4) - before_x), Math.round(y(4) - before_y));
        map.dispatchEvent(new MouseEvent("dblclick"));
        seen.push(view.scale === first);
        document.title = JSON.stringify(seen);
    """
    document = browse(page_of(60), script=act)
    assert '<title>["protein protein",true,true,40,20,true]</title>' in document


def test_colors_are_chosen_among_the_column_and_the_clusters(browse: Browse) -> None:
    page = page_of(60, (Scale("year", np.arange(60.0)),))
    document = browse(page)
    assert '<option value="0">year</option><option value="1">cluster</option>' in document
    assert '<h2 id="subject">year</h2>' in document
    act = "const by = document.getElementById('by'); by.value = 1; by.dispatchEvent(new Event('change'));"
    assert '<h2 id="subject">cluster</h2>' in browse(page, script=act)


@pytest.mark.parametrize("size", SCREENS, ids=str)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_map_is_drawn_in_its_colors_on_any_screen(tmp_path: Path, size: tuple[int, int], theme: int) -> None:
    groups = Groups("kind", tuple(f"kind {number}" for number in range(8)), (np.arange(400) % 8).astype(np.uint8))
    path, picture = tmp_path / "map.html", tmp_path / "map.png"
    path.write_text(page_of(400, (groups,)))
    window = f"--window-size={size[0]},{size[1]}"
    chromium(f"--screenshot={picture}", window, f"--blink-settings=preferredColorScheme={theme}", f"file://{path}")
    image = (imread(io.BytesIO(picture.read_bytes()))[..., :3] * 255).round().astype(int)
    assert image.shape[:2] == (size[1], size[0])
    assert (image[0, 0].mean() > 128) == (theme == LIGHT)
    drawn = image[SCREENS[size]].reshape(-1, 3)
    share_of_paper = (drawn == drawn[0]).all(axis=1).mean()
    assert 0.2 < share_of_paper < 0.995
    colors = [np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) for color in COLORS[:8]]
    paper = drawn[0]
    for color in colors:
        tinted = color if theme == LIGHT else 0.74 * color + 0.26 * 255
        seen = 0.85 * tinted + 0.15 * paper
        assert (np.abs(drawn - seen).max(axis=1) < 8).sum() > 10
