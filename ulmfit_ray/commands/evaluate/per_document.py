"""How well a language model predicts each document by itself, as a Parquet file: a row a document, in their order.

A document is read from a state of zeros, so its figures do not depend on its neighbours. Its first token, xxbos, is
read and not predicted. A backward model reads xxbos first, too: in training it stands in front of each document as the
end of the one before.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.commands.result_file import place_of
from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.encoding.document_losses import document_losses
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.vocab import BOS_ID

SCHEMA = pa.schema(
    [("doc_id", pa.string()), ("num_tokens", pa.int64()), ("loss", pa.float64()), ("perplexity", pa.float64())]
)
"""`num_tokens` are those that were predicted; `loss` is in nats for each of them, null where there is none."""
LARGEST_EXPONENT = 700.0
"""e to the power of more is no float."""


def write_per_document(model: LanguageModel, tokens: TokenDataset, output: str, *, backward: bool) -> None:
    """Score each document, one shard after another, and put the file in its place when it is whole."""
    folder, name = place_of(output)
    with scratch_directory() as scratch, Bar(f"writing {name}", len(tokens.shards), "shards") as bar:
        with pq.ParquetWriter(scratch / name, SCHEMA) as writer:
            for row, table in zip(tokens.shards, shard_tables(tokens), strict=True):
                values, offsets = flat_tokens(table["tokens"])
                documents = [_as_read(values[start:stop], backward) for start, stop in pairwise(offsets)]
                writer.write_table(_rows(table["doc_id"], documents, document_losses(model, documents)))
                bar.advance(1, documents=row.num_documents, tokens=row.num_tokens)
        folder.publish(scratch / name, name)
    print(f"{tokens.manifest.counts.num_documents:,} documents written to {output}")


def _as_read(document: np.ndarray, backward: bool) -> np.ndarray:
    """Return a document's tokens in the order in which the model reads them."""
    if not backward:
        return document
    # Documents of lines (--tokenizer.eos line) have no xxbos, and may be empty.
    marks = int(BOS_ID in document[:1])
    return np.concatenate([document[:marks], document[marks:][::-1]])


def _rows(doc_ids: pa.ChunkedArray, documents: Sequence[np.ndarray], losses: np.ndarray) -> pa.Table:
    num_tokens = np.array([max(0, len(document) - 1) for document in documents], np.int64)
    means = losses / np.maximum(num_tokens, 1)
    perplexities = np.exp(np.minimum(means, LARGEST_EXPONENT))
    is_empty = num_tokens == 0
    columns = [doc_ids, num_tokens, *(pa.array(values, mask=is_empty) for values in (means, perplexities))]
    return pa.table(columns, schema=SCHEMA)
