"""Folders of both sorts, receipts to write, and an eye on what is published when."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

# For committer.py.
sys.path.insert(0, str(Path(__file__).parent))

from ulmfit_ray.storage.commit import WriteFile, commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt

MakeReceipt = Callable[..., Receipt]
Commit = Callable[..., Receipt]


@pytest.fixture
def local_folder(tmp_path: Path) -> Folder:
    """A folder of this machine, for what is done in its own way there."""
    return Folder(str(tmp_path / "output"))


@pytest.fixture(params=["local", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder of this machine, and one of an object store."""
    if request.param == "local":
        return Folder(str(tmp_path / "output"))
    return Folder(f"{request.getfixturevalue('bucket')}/output")


@pytest.fixture
def make_receipt() -> MakeReceipt:
    """Return a function that makes the receipt of a shard of two documents."""

    def make(shard: str, plan: str = "plan", **facts: Any) -> Receipt:
        return Receipt(plan=plan, shard=shard, **({"num_documents": 2, "num_tokens": 30} | facts))

    return make


@pytest.fixture
def commit(folder: Folder) -> Commit:
    """Return a function that commits a shard, without files and just begun unless it is told otherwise."""

    def commit(
        receipt: Receipt,
        files: Mapping[str, WriteFile] = MappingProxyType({}),
        began: float | None = None,
        where: str = "done",
    ) -> Receipt:
        return commit_shard(folder, receipt, files, began=began or time.monotonic(), where=where)

    return commit


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were published, in order."""
    names: list[str] = []
    publish = Folder.publish

    def note(self: Folder, local_file: Path, name: str) -> None:
        names.append(name)
        publish(self, local_file, name)

    monkeypatch.setattr(Folder, "publish", note)
    return names
