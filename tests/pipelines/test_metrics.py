"""Prometheus finds in Ray's agent what a job has counted, and the dashboard asks for just what there is."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines import metrics
from ulmfit_ray.pipelines.metrics import COUNTERS, GAUGES, HISTOGRAMS, DeviceClock, stage_metrics
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.receipts import Receipt

DASHBOARD = Path(__file__).parents[2] / "cluster/grafana-dashboard.json"
SAMPLE = re.compile(r"^(ray_ulmfit_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
PATIENCE_SECONDS = 60


def asked_for(node: object) -> Iterator[str]:
    """Yield all queries of a dashboard."""
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name in ("expr", "query") and isinstance(value, str))
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from asked_for(inner)


def test_the_dashboard_asks_for_all_metrics_there_are_and_no_others() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    names = {name for query in asked_for(dashboard) for name in re.findall(r"ray_ulmfit_\w+", query)}
    assert names == {f"ray_{name}" for name in (*COUNTERS, *GAUGES)} | {f"ray_{name}_bucket" for name in HISTOGRAMS}
    panels = dashboard["panels"]
    assert all(panel["title"] and panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [[panel["gridPos"][name] for name in "xywh"] for panel in panels]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells), "panels lie one over another"
    assert max(x for x, _ in cells) < 24


def test_without_ray_nothing_is_counted_and_nothing_fails() -> None:
    with stage_metrics("verb", "stage") as stage:
        stage.wait_for(3)


def test_what_became_of_units_is_added_up_before_ray_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, float]] = []
    monkeypatch.setattr(metrics, "_say", lambda name, value, tags: said.append((name, value)))
    receipt = Receipt(plan="p", shard="a", num_documents=7, num_tokens=50, quarantined={"null text": 2})
    with stage_metrics("verb", "stage") as stage:
        stage.wait_for(3)
        stage.add(Outcome(shard="a", receipt=receipt, began=10.0, ended=11.5))
        stage.add(Outcome(shard="b", receipt=receipt))
        stage.add(Outcome(shard="c", receipt=None, problem="why"))
        assert said == [("ulmfit_queue_depth", 3)]
    totals = dict(said)
    assert {name: totals[name] for name in metrics.COUNTERS} == {
        "ulmfit_documents_total": 14,
        "ulmfit_tokens_total": 100,
        "ulmfit_quarantined_total": 4,
        "ulmfit_units_done_total": 2,
        "ulmfit_units_failed_total": 1,
    }
    # What was found done was not made now.
    assert [value for name, value in said if name == "ulmfit_unit_seconds"] == [1.5]
    assert [value for name, value in said if name == "ulmfit_queue_depth"] == [3, 1, 0]


def test_a_device_that_waits_is_busy_for_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 3.0, 4.0, 4.0, 6.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    clock = DeviceClock()
    assert clock.timed(lambda: "a") == ("a", 0.25)
    assert clock.timed(lambda: "b") == ("b", 1.0)


def samples() -> dict[tuple[str, str, str], float]:
    """Return what the agents of all nodes say of us: (name, verb, stage) -> value, of all processes together."""
    import ray

    found: dict[tuple[str, str, str], float] = {}
    for node in ray.nodes():
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        for name, labels, value in SAMPLE.findall(text):
            known = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            key = (name, known["verb"], known["stage"])
            if not name.endswith("_bucket"):
                found[key] = found.get(key, 0) + float(value)
    return found


@pytest.mark.ray
def test_prometheus_finds_what_a_job_has_counted(ray_session: None, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"some words and number {number}"}) for number in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "{not json"]) + "\n")
    before = samples()
    manifest = tokenize.run(
        TokenizeConfig(
            input=(str(tmp_path / "a.jsonl"),), output=str(tmp_path / "out"), min_freq=1, max_bad_fraction=0.1
        )
    )
    assert manifest is not None
    counts = manifest.counts
    expected = {
        (f"ray_ulmfit_{name}", "tokenize", stage): value
        for stage in ("1 tokenize", "3 numericalize")
        for name, value in {
            "documents_total": counts.num_documents,
            "tokens_total": counts.num_tokens,
            "quarantined_total": 1,
            "units_done_total": 1,
            "unit_seconds_count": 1,
        }.items()
    }
    deadline = time.monotonic() + PATIENCE_SECONDS
    grown: dict[tuple[str, str, str], float] = {}
    while grown != expected and time.monotonic() < deadline:
        # The processes tell the agent every ten seconds.
        time.sleep(0.5)
        now = samples()
        grown = {key: now.get(key, 0) - before.get(key, 0) for key in expected}
    assert grown == expected
    gauges = {name: value for (name, verb, stage), value in samples().items() if stage == "3 numericalize"}
    assert gauges["ray_ulmfit_queue_depth"] == 0
    assert gauges["ray_ulmfit_tokens_per_second"] == 0
