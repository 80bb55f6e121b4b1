"""The table of costs: what its numbers are made of, and that the page has the one that the script prints."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

CLUSTER = Path(__file__).parents[1] / "cluster"
sys.path.insert(0, str(CLUSTER))

import costs  # noqa: E402


def test_the_page_has_the_table_that_the_script_prints() -> None:
    page = (CLUSTER / "README.md").read_text(encoding="utf-8")
    assert costs.written_into(page, costs.table(costs.stages())) == page, "run: python cluster/costs.py --write ..."


def test_a_stage_has_the_nodes_that_end_it_in_a_day() -> None:
    # 64 cores at 80 % of 1,000 tokens/s: 184,320,000 tokens an hour, 4,423,680,000 a day.
    stage = costs.Stage("any", 1000, "measured")
    nodes, hours, dollars = stage.cost(4_423_680_000)
    assert (nodes, hours, dollars) == (1, 24, pytest.approx(24 * 64 * costs.DOLLARS_PER_CORE_HOUR))
    nodes, hours, twice = stage.cost(8_847_360_000)
    assert (nodes, hours, twice) == (2, 24, pytest.approx(2 * dollars))


def test_an_estimate_says_that_it_is_one_until_a_gpu_was_measured(tmp_path: Path) -> None:
    for name in ("tokenize_job", "encode", "train_lm_60000"):
        (tmp_path / f"{name}.json").write_text((costs.RESULTS / f"{name}.json").read_text())
    before = {stage.name: stage for stage in costs.stages(tmp_path)}
    assert "estimate, not measured" in before["embed, GPU"].source
    encoded: dict[str, Any] = json.loads((tmp_path / "encode.json").read_text())
    rates = {"loop": 1, "float32": 2e6, "bfloat16": 5e6, "ceiling bfloat16": 9e6}
    (tmp_path / "encode_h200.json").write_text(json.dumps(encoded | {"device": "cuda", "tokens_per_second": rates}))
    after = {stage.name: stage for stage in costs.stages(tmp_path)}
    assert (after["embed, GPU"].tokens_per_second, after["embed, GPU"].source) == (5e6, "measured, encode_h200.json")
    assert after["pretrain, GPU, one pass"] == before["pretrain, GPU, one pass"]


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- costs --> followed by <!-- /costs -->"):
        costs.written_into("# A page\n<!-- costs -->\n", "table\n")
