"""Files reach their place whole or not at all."""

import hashlib
import os
from pathlib import Path

import pyarrow.fs
import pytest

from ulmfit_ray.storage import folder as folder_module
from ulmfit_ray.storage.folder import Folder, absolute_uri, sha256_file, temporary_name, to_json_bytes
from ulmfit_ray.storage.insistence import WholeReads
from ulmfit_ray.storage.scratch import scratch_directory


def everything(folder: Folder) -> list[str]:
    selector = pyarrow.fs.FileSelector(folder.root, recursive=True, allow_not_found=True)
    found = folder.filesystem.get_file_info(selector)
    return sorted(info.path.removeprefix(f"{folder.root}/") for info in found if info.is_file)


def local_file(tmp_path: Path, content: bytes = b"content") -> Path:
    path = tmp_path / "local"
    path.write_bytes(content)
    return path


def test_a_published_file_is_there_whole_and_nothing_else_is(folder: Folder, tmp_path: Path) -> None:
    folder.publish(local_file(tmp_path), "shards/part-1.arrow")
    assert everything(folder) == ["shards/part-1.arrow"]
    assert folder.read_bytes("shards/part-1.arrow") == b"content"


def test_a_file_is_stored_as_it_is_whatever_its_name_says(folder: Folder) -> None:
    folder.publish_bytes(b"content", "name.gz")
    assert folder.read_bytes("name.gz") == b"content"
    assert folder.sha256("name.gz") == hashlib.sha256(b"content").hexdigest()


def test_publishing_again_replaces_the_file(folder: Folder, tmp_path: Path) -> None:
    folder.publish(local_file(tmp_path, b"a longer first content"), "name")
    folder.publish(local_file(tmp_path, b"second"), "name")
    assert folder.read_bytes("name") == b"second"
    assert everything(folder) == ["name"]


def test_a_copy_that_breaks_off_leaves_the_old_file_and_no_temporary_one(
    local_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_folder.publish(local_file(tmp_path, b"old"), "name")

    def break_off(source: Path, target: Path) -> None:
        target.write_bytes(b"ne")
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module.shutil, "copyfile", break_off)
    with pytest.raises(KeyboardInterrupt):
        local_folder.publish(local_file(tmp_path, b"new"), "name")
    assert local_folder.read_bytes("name") == b"old"
    assert everything(local_folder) == ["name"]


def test_the_name_appears_only_after_the_whole_content_is_written(
    local_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look_while_copying(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())
        seen.append((local_folder.exists("name"), local_folder.names(), len(everything(local_folder))))

    monkeypatch.setattr(folder_module.shutil, "copyfile", look_while_copying)
    local_folder.publish(local_file(tmp_path), "name")
    assert seen == [(False, [], 1)]
    assert local_folder.names() == ["name"]


def test_a_copy_of_another_size_is_an_error(
    local_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module.shutil, "copyfile", lambda source, target: target.write_bytes(b"con"))
    with pytest.raises(OSError, match="name has 3 bytes after the copy, not 7"):
        local_folder.publish(local_file(tmp_path), "name")
    assert everything(local_folder) == []


def test_temporary_files_are_hidden_and_swept_away(local_folder: Folder) -> None:
    local_folder.publish_bytes(b"x", "shards/part-1.arrow")
    left = Path(local_folder.path(temporary_name("shards/part-2.arrow")))
    left.write_bytes(b"half")
    assert local_folder.names("shards") == ["part-1.arrow"]
    assert not local_folder.exists("shards/part-2.arrow")
    local_folder.sweep("shards")
    assert everything(local_folder) == ["shards/part-1.arrow"]


def test_two_attempts_never_share_a_temporary_name() -> None:
    names = {temporary_name("shards/part-1.arrow") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("shards/.part-1.arrow.") and str(os.getpid()) in name for name in names)
    assert "/" not in temporary_name("plan.json")


def test_names_are_sorted_and_of_a_missing_folder_there_are_none(folder: Folder) -> None:
    for name in ("b", "a", "c/d"):
        folder.publish_bytes(b"", name)
    assert folder.names() == ["a", "b", "c"]
    assert folder.names("c") == ["d"]
    assert folder.names("nowhere") == []
    folder.sweep("nowhere")


def test_create_json_lets_one_process_win(folder: Folder) -> None:
    folder.create_json({"run": 1}, "plan.json")
    with pytest.raises(FileExistsError):
        folder.create_json({"run": 2}, "plan.json")
    assert folder.read_json("plan.json") == {"run": 1}
    assert everything(folder) == ["plan.json"]


def test_size_of_a_missing_file_or_of_a_folder_is_an_error(folder: Folder) -> None:
    folder.publish_bytes(b"12345", "shards/one")
    assert folder.size("shards/one") == 5
    for name in ("nothing", "shards"):
        with pytest.raises(FileNotFoundError, match=f"{name} is not there"):
            folder.size(name)


def test_hash_of_a_published_file_is_that_of_the_local_one(folder: Folder, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    path = local_file(tmp_path, content)
    folder.publish(path, "name")
    assert folder.sha256("name") == sha256_file(path) == hashlib.sha256(content).hexdigest()


def test_local_files_are_the_folders_own_or_whole_copies(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "COPIED_AT_ONCE", 1000)
    contents = {"index": os.urandom(3500), "words/counts.npy": os.urandom(2000), "words/empty": b""}
    for name, content in contents.items():
        folder.publish_bytes(content, name)
    with folder.local_files(contents) as place:
        assert {name: (place / name).read_bytes() for name in contents} == contents
        assert (place == Path(folder.root)) == folder.is_local
    assert place.exists() == folder.is_local


def test_a_remote_file_that_ends_early_is_no_copy(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(f"{bucket}/output")
    folder.publish_bytes(b"0123456789", "name")
    monkeypatch.setattr(WholeReads, "_read", lambda self, num_bytes: b"")
    with pytest.raises(OSError, match=r"output/name ended after 0 of 10 bytes"), folder.local_files(["name"]):
        pass


def test_delete_removes_files_and_folders_and_minds_nothing_missing(folder: Folder) -> None:
    for name in ("a", "shards/b", "shards/c/d", "kept"):
        folder.publish_bytes(b"", name)
    for name in ("a", "shards", "nothing"):
        folder.delete(name)
    assert everything(folder) == ["kept"]


def test_json_is_readable_and_the_same_for_equal_content() -> None:
    assert to_json_bytes({"a": "\u4f60", "b": [1]}) == '{\n  "a": "\u4f60",\n  "b": [\n    1\n  ]\n}\n'.encode()


def test_local_paths_become_absolute_and_uris_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert absolute_uri("a/../b") == str(tmp_path / "b")
    assert absolute_uri("~/b") == "/home/someone/b"
    assert absolute_uri("s3://bucket/key") == "s3://bucket/key"


def test_scratch_directory_is_gone_afterwards() -> None:
    with scratch_directory() as scratch:
        (scratch / "file").write_bytes(b"x")
    assert not scratch.exists()
