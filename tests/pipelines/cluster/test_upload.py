"""What a submitted job takes along, and what it never does."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.cluster.upload import LIMIT_BYTES, check_size, folder_files, package_files, write_zip

ROOT = Path(__file__).parents[3]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def sent(folder: Path) -> list[str]:
    return [file.name for file in folder_files(str(folder))]


def test_hidden_files_data_results_and_caches_are_not_sent(tmp_path: Path) -> None:
    write(tmp_path, ".env", ".git/config", ".venv/bin/python", ".aws/credentials", "data/a", "results/b", "build/c")
    write(tmp_path, "ours/__pycache__/a.pyc", "ours/a.pyc", "x.egg-info/PKG-INFO", "venv/pyvenv.cfg", "dist/a.whl")
    write(tmp_path, "ours/a.py", "ours/data/a.json", "README.md")
    assert sent(tmp_path) == ["README.md", "ours/a.py", "ours/data/a.json"]


def test_what_a_folder_ignores_in_gits_way_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path, "a.bin", "keep.bin", "b/a.bin", "b/c.txt", "b/c.log", "d/a.txt", "d/sub/a.txt", "c.log")
    (tmp_path / ".gitignore").write_text("*.bin\n!keep.bin\n")
    (tmp_path / ".rayignore").write_text("/d/sub\n")
    (tmp_path / "b/.rayignore").write_text("*.log\n")
    assert sent(tmp_path) == ["c.log", "keep.bin", "b/c.txt", "d/a.txt"]


def test_an_ignored_folder_is_not_even_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py", "data/deep/a", "caches/deep/a")
    (tmp_path / ".gitignore").write_text("caches/\n")
    seen = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(Path(path).name) or scan(path))
    assert sent(tmp_path) == ["a.py"]
    assert seen == [tmp_path.name]


def test_links_to_nothing_and_to_folders_are_not_sent(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "sub/b.py")
    (tmp_path / "nothing").symlink_to(tmp_path / "missing")
    (tmp_path / "sub/around").symlink_to(tmp_path)
    assert sent(tmp_path) == ["a.py", "sub/b.py"]


def test_a_folder_that_is_too_large_is_refused_with_its_largest_files(tmp_path: Path) -> None:
    write(tmp_path, *(f"small-{number}" for number in range(9)))
    for name, num_bytes in (("corpus/big.txt", LIMIT_BYTES - 2_000_000), ("model.bin", 3_000_000)):
        write(tmp_path, name)
        os.truncate(tmp_path / name, num_bytes)
    with pytest.raises(ConfigError) as refused:
        check_size(folder_files(str(tmp_path)), "it")
    message = str(refused.value)
    assert message.startswith("it has 105.9 MB in 11 files; Ray takes at most 104.9 MB: largest are corpus/big.txt")
    assert "corpus/big.txt (102.9 MB), model.bin (3.0 MB), small-" in message
    assert ".rayignore" in message
    (tmp_path / ".rayignore").write_text("/corpus\n")
    assert check_size(folder_files(str(tmp_path)), "it") < 4_000_000


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing is no folder of this machine"):
        folder_files(str(tmp_path / "missing"))


def test_the_same_files_give_the_same_zip_whenever_they_were_written(tmp_path: Path) -> None:
    write(tmp_path, "folder/a.py", "folder/sub/b.py")
    archives = [tmp_path / "1.zip", tmp_path / "2.zip"]
    for seconds, archive in enumerate(archives):
        os.utime(tmp_path / "folder/a.py", (1e9 + 100 * seconds, 1e9 + 100 * seconds))
        write_zip(folder_files(str(tmp_path / "folder")), archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with ZipFile(archives[0]) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            "a.py": "folder/a.py",
            "sub/b.py": "folder/sub/b.py",
        }


def test_the_package_that_is_sent_runs_where_it_is_unpacked(tmp_path: Path) -> None:
    files = package_files()
    assert {file.name for file in files} >= {"ulmfit_ray/cli.py", "ulmfit_ray/reporting/map_page.html"}
    write_zip(files, tmp_path / "upload.zip")
    with ZipFile(tmp_path / "upload.zip") as archive:
        archive.extractall(tmp_path)

    def said_by(*arguments: str) -> str:
        program = [sys.executable, *arguments]
        return subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert (
        said_by("-c", "import ulmfit_ray; print(ulmfit_ray.__file__)").strip() == f"{tmp_path}/ulmfit_ray/__init__.py"
    )
    assert "usage: ulmfit-ray embed" in said_by("-m", "ulmfit_ray.cli", "embed", "--help")


def test_a_submission_by_rays_own_command_from_the_repository_is_small() -> None:
    files = folder_files(str(ROOT))
    assert check_size(files, "it") < 20_000_000
    assert {"jobs/embed_corpus.py", "jobs/launch.py", "ulmfit_ray/cli.py"} <= {file.name for file in files}
