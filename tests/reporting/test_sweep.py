"""A sweep's table and picture."""

import io
from pathlib import Path

import matplotlib.image
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.reporting.sweep_plot import sweep_plot
from ulmfit_ray.reporting.sweep_table import SweepRow, SweepTable, figure_named, print_sweep, write_table
from ulmfit_ray.storage.trial_record import TrialRecord


def row(name: str, rate: float, perplexity: float | None, **record: object) -> SweepRow:
    state = "finished" if perplexity is not None else "failed"
    content = {"name": name, "values": {"rate": rate}, "state": state, "seconds": 12.34} | record
    figures = {} if perplexity is None else {"perplexity": perplexity, "num_steps": 7, "precision": "float32"}
    values = {"rate": rate, "blocks": ["words", "context"]}
    return SweepRow(values=values, record=TrialRecord(**content), figures=figures, uri=f"/sweep/{name}")


@pytest.fixture
def table() -> SweepTable:
    rows = [
        row("a", 0.001, 120.0),
        row("b", 0.004, 110.5),
        row("c", 0.01, 90.0, state="stopped early"),
        row("d", 1.0, None, problem="the loss is nan at step 3"),
    ]
    return SweepTable(rows=rows, figure="perplexity")


def test_the_best_is_the_lowest_of_what_was_trained_to_its_end(table: SweepTable) -> None:
    assert table.best is table.rows[1]


def test_of_accuracies_the_highest_is_the_best() -> None:
    rows = [
        SweepRow(
            values={}, record=TrialRecord(name=name, values={}, state="finished"), figures={"accuracy": value}, uri=""
        )
        for name, value in (("a", 0.2), ("b", 0.3))
    ]
    assert SweepTable(rows=rows, figure="accuracy").best is rows[1]
    assert SweepTable(rows=rows, figure="perplexity").best is None


def test_the_joint_accuracy_of_a_retriever_with_one_block_is_that_of_the_block() -> None:
    assert figure_named({"accuracy_words": 0.3, "loss": 1.0}, "accuracy_joint") == 0.3
    both = {"accuracy_words": 0.3, "accuracy_context": 0.2}
    assert figure_named(both | {"accuracy_joint": 0.4}, "accuracy_joint") == 0.4
    assert figure_named(both, "accuracy_joint") is None
    assert figure_named({"accuracy": 0.3}, "perplexity") is None


def test_parquet_and_csv_have_a_row_for_each_setting_with_its_numbers(table: SweepTable, tmp_path: Path) -> None:
    write_table(table, tmp_path)
    rows = pq.read_table(tmp_path / "sweep.parquet").to_pylist()
    assert rows[1] == {
        **{"rate": 0.004, "blocks": "words context", "perplexity": 110.5, "num_steps": 7},
        **{"state": "finished", "seconds": 12.3, "is_best": True, "problem": "", "output": "/sweep/b"},
    }
    assert [one["is_best"] for one in rows] == [False, True, False, False]
    assert rows[3]["perplexity"] is None
    assert rows[3]["problem"] == "the loss is nan at step 3"
    again = pyarrow.csv.read_csv(tmp_path / "sweep.csv").to_pylist()
    assert [one["perplexity"] for one in again] == [120.0, 110.5, 90.0, None]
    assert list(again[0]) == list(rows[0])


def test_the_terminal_marks_the_best_and_names_what_failed(
    table: SweepTable, capsys: pytest.CaptureFixture[str]
) -> None:
    print_sweep("sweep pretrain", table, "/sweep")
    lines = capsys.readouterr().out.splitlines()
    marked = [line for line in lines if line.startswith("│ * │")]
    assert len(marked) == 1
    assert "0.004" in marked[0]
    assert "110.50" in marked[0]
    assert "* best perplexity: /sweep/b" in lines
    assert "d failed: the loss is nan at step 3" in lines


def test_what_models_a_sweep_started_from_and_where_its_own_lie_are_columns_of_their_own(tmp_path: Path) -> None:
    record = TrialRecord(name="a", values={"model": "/lm/a"}, state="finished")
    rows = [SweepRow(values=record.values, record=record, figures={"loss": 1.0}, uri="/sweep/a")]
    write_table(SweepTable(rows=rows, figure="loss"), tmp_path)
    (row,) = pq.read_table(tmp_path / "sweep.parquet").to_pylist()
    assert (row["model"], row["output"]) == ("/lm/a", "/sweep/a")


def test_a_figure_that_no_model_has_is_said_with_those_there_are(
    table: SweepTable, capsys: pytest.CaptureFixture[str]
) -> None:
    print_sweep("sweep", SweepTable(rows=table.rows, figure="accuracy"), "/sweep")
    assert "no finished setting has the figure accuracy; there are perplexity, num_steps" in capsys.readouterr().out
    assert sweep_plot(SweepTable(rows=table.rows, figure="accuracy")) is None


@pytest.mark.parametrize("num_others", [1, 8, 9])
def test_a_picture_is_drawn_of_lines_or_of_ranks(num_others: int) -> None:
    rows = []
    for other in range(num_others):
        for number in range(10):
            name = f"{other}-{number}"
            values = {"rate": 10.0**-number, "kind": f"kind {other}"}
            record = TrialRecord(name=name, values=values, state="finished")
            rows.append(SweepRow(values=values, record=record, figures={"perplexity": 50.0 + number}, uri=name))
    picture = matplotlib.image.imread(io.BytesIO(sweep_plot(SweepTable(rows=rows, figure="perplexity")) or b""))
    assert picture.shape[1] == 960
    # Not blank: something is drawn in colour.
    assert picture[..., :3].std(axis=2).max() > 0.1
