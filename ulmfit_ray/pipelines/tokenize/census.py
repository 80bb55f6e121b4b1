"""The censuses of all shards, read at the end and added up for the manifest."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import READING_THREADS, Receipt, Receipts
from ulmfit_ray.storage.token_dataset import read_census
from ulmfit_ray.text.census import Census, CorpusCensus

READ_AT_ONCE = 1_000
"""Censuses in memory: about 10 MB. 160,000 take two minutes to read from an object store."""


def corpus_census(folder: Folder, written: Iterable[Receipt]) -> CorpusCensus:
    """Return the censuses of all shards, added up."""
    written, corpus = Receipts.of(written), CorpusCensus()
    with ThreadPoolExecutor(READING_THREADS) as pool:
        for start in range(0, len(written), READ_AT_ONCE):
            shards = written[start : start + READ_AT_ONCE].names()
            for table in pool.map(partial(read_census, folder), shards):
                corpus.add(Census.from_table(table))
    return corpus
