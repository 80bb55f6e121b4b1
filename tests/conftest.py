from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.corpus.documents import Columns
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import write_dataset_manifest
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS, TokenDataset, list_array, token_schema, write_arrow

Fields = Sequence[Sequence[int]]
MakeTokenDataset = Callable[..., TokenDataset]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "output"))


@pytest.fixture
def make_token_dataset(tmp_path: Path) -> MakeTokenDataset:
    """Return a function that writes a finished token dataset.

    `shards` has for each shard (document id, token ids of each field); a document is xxbos (2) and its fields.
    """

    def make(
        shards: Sequence[Sequence[tuple[str, Fields]]],
        text_columns: Sequence[str] = ("text",),
        token_id_type: pa.DataType | None = None,
        name: str = "tokens",
    ) -> TokenDataset:
        folder = Folder(str(tmp_path / name))
        columns = Columns(text=tuple(text_columns))
        schema = token_schema(columns, token_id_type or pa.uint16(), {"vocab": "v" * 64})
        folder.publish_json({"job": {"verb": "tokenize", "text_columns": list(text_columns)}}, "config.json")
        receipts = []
        for number, documents in enumerate(shards):
            stem = f"part-{number:07d}"
            tokens, starts, ends = [], [], []
            for _, fields in documents:
                sizes = np.cumsum([1, *map(len, fields)])
                starts.append(sizes[:-1].tolist())
                ends.append(sizes[1:].tolist())
                tokens.append(np.array([2, *(token_id for field in fields for token_id in field)], np.uint32))
            arrays: list[Any] = [
                pa.array([doc_id for doc_id, _ in documents], pa.string()),
                list_array(tokens, token_id_type or pa.uint16()),
            ]
            if FIELD_COLUMNS[0] in schema.names:
                arrays += [pa.array(places, pa.list_(pa.uint32())) for places in (starts, ends)]
            write_arrow(pa.table(arrays, schema=schema), tmp_path / "shard.arrow")
            folder.publish(tmp_path / "shard.arrow", f"shards/{stem}.arrow")
            files = {f"shards/{stem}.arrow": folder.sha256(f"shards/{stem}.arrow")}
            facts = {"num_documents": len(documents), "num_tokens": sum(map(len, tokens)), "files": files}
            receipts.append(Receipt(plan="p", shard=stem, **facts))
        write_dataset_manifest(folder, "tokenize", receipts, "arrow", {"vocab": "v" * 64})
        return TokenDataset(folder.uri)

    return make
