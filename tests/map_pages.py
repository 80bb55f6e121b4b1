"""Pages of maps for tests."""

import json
import re
from typing import Any

import numpy as np

from ulmfit_ray.reporting.map_colors import Groups, Scale
from ulmfit_ray.reporting.map_page import map_page

HOSTILE = "</script><img src=x onerror=alert(1)><!-- {{data}} & \u2028 ' \" \\ "
TITLES = ["Protein folding in yeast", "A PROTEIN and its gene", "gene expression", HOSTILE, "protein protein", ""]


def page_of(num_documents: int = 60, colorings: tuple[Groups | Scale, ...] = (), total: int | None = None) -> str:
    """Return the page of a map with two clusters; document i has title i modulo the number of TITLES."""
    random = np.random.default_rng(0)
    numbers = (np.arange(num_documents) % 2).astype(np.uint8)
    positions = random.normal(size=(num_documents, 2)) + 6 * numbers[:, None]
    columns = {
        "title": [TITLES[number % len(TITLES)] for number in range(num_documents)],
        "doc_id": [f"d{number}" for number in range(num_documents)],
    }
    clusters = Groups("cluster", ("one, two, three", HOSTILE), numbers)
    return map_page(positions, columns, colorings, clusters, num_documents=total or num_documents).decode()


def data_of(page: str) -> dict[str, Any]:
    """Return what a page holds of its documents."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content
