"""The picture of a confusion matrix shows its counts, whatever the classes are called."""

import subprocess
import sys

import numpy as np
import pytest

from ulmfit_ray.reporting.confusion_plot import LONGEST_NAME, _draw, confusion_matrix_png

PNG = b"\x89PNG\r\n\x1a\n"


def test_colours_are_parts_of_the_true_classs_documents() -> None:
    counts = np.array([[90, 10, 0], [1, 3, 0], [0, 0, 0]])
    matrix, _ = _draw(counts, ["a", "b", "c"]).axes
    expected = [[0.9, 0.1, 0], [0.25, 0.75, 0], [0, 0, 0]]
    np.testing.assert_allclose(matrix.images[0].get_array(), expected)


def test_the_first_row_is_the_first_class_and_stands_on_top() -> None:
    matrix, _ = _draw(np.array([[5, 1], [0, 1234]]), ["neg", "pos"]).axes
    bottom, top = matrix.get_ylim()
    assert top < bottom
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["neg (6)", "pos (1,234)"]
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["neg", "pos"]
    texts = {text.get_position(): text.get_text() for text in matrix.texts}
    # At (column, row); the cell of no document is empty.
    assert texts == {(0, 0): "5", (1, 0): "1", (1, 1): "1,234"}


@pytest.mark.parametrize(("num_classes", "num_texts"), [(20, 400), (21, 0)])
def test_counts_are_written_for_up_to_twenty_classes(num_classes: int, num_texts: int) -> None:
    labels = [str(number) for number in range(num_classes)]
    matrix, _ = _draw(np.ones((num_classes, num_classes), np.int64), labels).axes
    assert len(matrix.texts) == num_texts


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    labels = ["an intent of which there are many, number one", "an intent of which there are many, number two"]
    matrix, _ = _draw(np.eye(2, dtype=np.int64), labels).axes
    names = [label.get_text() for label in matrix.get_xticklabels()]
    assert len(set(names)) == 2
    assert all(name.startswith("an intent") and len(name) <= LONGEST_NAME for name in names)
    assert [name[-3:] for name in names] == ["one", "two"]


def test_of_a_thousand_classes_some_are_named() -> None:
    labels = [f"class {number}" for number in range(1000)]
    matrix, _ = _draw(np.eye(1000, dtype=np.int64), labels).axes
    assert [label.get_text() for label in matrix.get_xticklabels()] == labels[::5]


@pytest.mark.parametrize("labels", [["$x^", "$\\frac$"], ["", "two\nlines"], ["only one"]])
def test_any_name_gives_a_picture(labels: list[str]) -> None:
    counts = np.arange(len(labels) ** 2).reshape(len(labels), -1)
    assert confusion_matrix_png(counts, labels).startswith(PNG)


def test_the_picture_is_as_wide_as_its_longest_name_needs() -> None:
    def width(name: str) -> int:
        return int.from_bytes(confusion_matrix_png(np.eye(2, dtype=np.int64), [name, "b"])[16:20])

    assert width("a name of twenty-eight signs") > width("a") + 100


def test_drawing_neither_keeps_figures_nor_looks_for_a_screen() -> None:
    program = (
        "import sys; import numpy as np; from ulmfit_ray.reporting.confusion_plot import confusion_matrix_png;"
        "assert 'matplotlib' not in sys.modules;"
        "confusion_matrix_png(np.eye(2, dtype=int), ['a', 'b']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
