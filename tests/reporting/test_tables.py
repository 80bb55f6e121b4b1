"""Numbers as a person reads them, and tables that show text as it is."""

import pytest

from ulmfit_ray.reporting.tables import format_number, print_summary, print_table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7515171, "7,515,171"),
        (12345.6, "12,346"),
        (28.372, "28.37"),
        (0.0000001192, "1.19e-07"),
        (0.25, "0.25"),
        (True, "True"),
        ("s3://bucket/out", "s3://bucket/out"),
    ],
)
def test_a_number_is_written_with_what_matters_of_it(value: object, expected: str) -> None:
    assert format_number(value) == expected


def test_a_summary_has_its_title_and_rows_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary("tokenize", {"documents": 25000, "output": "/somewhere"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "tokenize"
    shown = [line for line in lines if "documents" in line or "output" in line]
    assert ["25,000" in shown[0], "/somewhere" in shown[1]] == [True, True]


def test_brackets_are_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("about [/i]", ["a [b]", "c"], [["[red]x[/red]", "1"]], right=("c",))
    text = capsys.readouterr().out
    assert all(part in text for part in ("about [/i]", "a [b]", "[red]x[/red]"))
