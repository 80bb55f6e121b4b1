"""The names of classes, in a file beside those that number them."""

from pathlib import Path

import pytest

from ulmfit_ray.corpus.classes import find_classes
from ulmfit_ray.corpus.listing import list_inputs


def listed(root: Path, *names: str) -> list:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1,x\n")
    return list_inputs([str(root / name) for name in names])


def test_the_classes_stand_beside_the_files_one_a_line(tmp_path: Path) -> None:
    files = listed(tmp_path, "train.csv", "test.csv")
    assert find_classes(files, "utf-8") == ()
    (tmp_path / "classes.txt").write_text("World\n Sci/Tech \r\nB\u00fccher\n\n", encoding="cp1252")
    assert find_classes(files, "cp1252") == ("World", "Sci/Tech", "B\u00fccher")


def test_folders_with_the_same_classes_are_read_together_and_others_not(tmp_path: Path) -> None:
    files = listed(tmp_path, "a/x.csv", "b/x.csv")
    (tmp_path / "a/classes.txt").write_text("World\nSports")
    with pytest.raises(ValueError, match=r"classes of the inputs differ \(.*/a/classes\.txt, .*/b/classes\.txt\)"):
        find_classes(files, "utf-8")
    (tmp_path / "b/classes.txt").write_text("World\nSports\n")
    assert find_classes(files, "utf-8") == ("World", "Sports")
