"""The page of a map: one HTML file with everything in it, which asks no server for anything.

The template is map_page.html beside this file, with map_page.css and two scripts. Places and colours are typed arrays
in base64, texts are JSON. 100,000 documents are drawn once into a layer, which is moved and stretched while the map
moves.

N documents.
"""

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from ulmfit_ray.reporting.map_colors import GREY, Groups, Scale, densest_places, scale_colors, shown

LONGEST_TEXT = 300
"""Characters of a kept value that a page has."""
PARTS = {
    "{{style}}": "map_page.css",
    "{{drawing}}": "map_page_drawing.js",
    "{{controls}}": "map_page_controls.js",
}
ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
"""What could end a script or begin a comment in HTML, as JSON may spell it."""


def map_page(
    positions: np.ndarray,
    columns: Mapping[str, Sequence[str]],
    colorings: Sequence[Groups | Scale],
    clusters: Groups,
    *,
    num_documents: int,
) -> bytes:
    """Return the page of documents at their places (N, 2).

    `columns` have the texts of each document, by their names, the title first. Colors can be chosen among `colorings`
    and `clusters`; the names of the clusters stand on the map. `num_documents` says how many documents there are, if
    not all of them are given.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    size = float((high - low).max()) or 1.0
    # Downwards on a screen.
    places = np.stack([positions[:, 0] - low[0], high[1] - positions[:, 1]], axis=1) / size
    is_part = len(positions) < num_documents
    content = {
        "places": _base64(places.astype("<f4")),
        "extent": [float(number) for number in (high - low) / size],
        "columns": [{"name": name, "values": list(values)} for name, values in columns.items()],
        "colorings": [_coloring(coloring) for coloring in (*colorings, clusters)],
        "names": _names(places, clusters),
        "note": f"{len(positions):,} of them shown, drawn at random" if is_part else "",
    }
    page = _part("map_page.html").replace("{{heading}}", html.escape(f"{num_documents:,} documents"))
    for place, name in PARTS.items():
        page = page.replace(place, _part(name))
    # Last, and split instead of replaced: a title may say {{data}}.
    before, after = page.split("{{data}}")
    return (before + embedded_json(content) + after).encode()


def _part(name: str) -> str:
    return resources.files("ulmfit_ray.reporting").joinpath(name).read_text(encoding="utf-8")


def embedded_json(content: Any) -> str:
    """Return JSON that can stand in a script element of HTML, whatever its texts hold."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half a surrogate pair has no UTF-8.
    return text.translate(ESCAPED).encode("utf-8", "replace").decode()


def page_texts(values: Iterable[object]) -> list[str]:
    """Return kept values as a page shows them: cut where they are long, and "" where there is none."""
    return [_shortened(shown(value) or "") for value in values]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _coloring(coloring: Groups | Scale) -> dict[str, Any]:
    if isinstance(coloring, Scale):
        ends = [
            f"{sign} {end:g}" if is_beyond else f"{end:g}"
            for sign, end, is_beyond in zip("\u2264\u2265", coloring.ends, coloring.is_beyond, strict=True)
        ]
        numbers = _base64(coloring.levels())
        return {"name": coloring.name, "numbers": numbers, "colors": [*scale_colors(), GREY], "ends": ends}
    return {
        "name": coloring.name,
        "numbers": _base64(coloring.numbers),
        "colors": coloring.colors,
        "labels": [_shortened(name) for name in coloring.names],
        "sizes": coloring.sizes.tolist(),
    }


def _names(places: np.ndarray, groups: Groups) -> list[dict[str, Any]]:
    """Return the names of groups and their places, the largest group first."""
    found = densest_places(places, groups)
    order = np.argsort(-groups.sizes[: len(groups.labels)], kind="stable").tolist()
    spots = [(groups.labels[number], found[number]) for number in order]
    return [{"text": text, "x": spot[0], "y": spot[1]} for text, spot in spots if spot is not None]
