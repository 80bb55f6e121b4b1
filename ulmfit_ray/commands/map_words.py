"""Names of clusters: the words that are typical of their documents, out of the tokens or out of the titles.

K clusters, V words.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ulmfit_ray.commands.shards import column_tables, shard_tables
from ulmfit_ray.retrieval.clusters import cluster_names, typical_words
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.decode import VISIBLE_SPACE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.stop_words import stop_words

MOST_LOOKED_AT = 20
"""Words of a cluster that its name may be made of."""
WORD = re.compile(r"[^\W\d_](?:[\w'\u2019-]*\w)?")
"""Begins with a letter; holds letters, digits, hyphens and apostrophes."""


def names_by_tokens(tokens: TokenDataset, clusters: np.ndarray) -> list[str]:
    """Return a name for each cluster out of the words of its documents, without stop words.

    `clusters` has the number of each document's cluster, in the order of the token dataset.
    """
    itos = tokens.folder.read_json("vocab.json")["tokens"]
    stop = stop_words(tokens.folder.read_json("tokenizer.json")["lang"])
    words = [token.strip(VISIBLE_SPACE) for token in itos]
    num_clusters, num_words = int(clusters.max()) + 1, len(words)
    documents = np.zeros(num_clusters * num_words, np.int64)
    first = 0
    for table in shard_tables(tokens):
        values, offsets = flat_tokens(table["tokens"])
        document = np.repeat(np.arange(table.num_rows), np.diff(offsets))
        document, word = np.divmod(np.unique(document * num_words + values.astype(np.int64)), num_words)
        own = clusters[first : first + table.num_rows].astype(np.int64)
        documents += np.bincount(own[document] * num_words + word, minlength=len(documents))
        first += table.num_rows
    says_something = np.array([_says_something(word) and word not in stop for word in words])
    return _names(documents.reshape(num_clusters, num_words) * says_something, clusters, words)


def names_by_titles(embeddings: EmbeddingDataset, column: str, clusters: np.ndarray) -> list[str]:
    """Return a name for each cluster out of the words of a kept column.

    Their language is not known, so that only how they are spread tells stop words from others.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(int(clusters.max()) + 1)]
    for number, title in zip(clusters.tolist(), _titles(embeddings, column), strict=True):
        counts[number].update({word for word in WORD.findall(title.lower()) if _says_something(word)})
    words = sorted(set().union(*counts))
    documents = np.array([[count[word] for word in words] for count in counts])
    return _names(documents, clusters, words)


def _titles(embeddings: EmbeddingDataset, column: str) -> Iterator[str]:
    for table in column_tables(embeddings, [column]):
        for title in table[column].to_pylist():
            yield "" if title is None else str(title)


def _says_something(word: str) -> bool:
    """Tell whether a token is a word: no mark of ours, no number, no punctuation, no single letter."""
    is_long = len(word) > 1 or not word.isascii()
    return is_long and word not in SPECIAL_TOKENS and WORD.fullmatch(word) is not None


def _names(documents: np.ndarray, clusters: np.ndarray, words: Sequence[str]) -> list[str]:
    ranked = typical_words(documents, np.bincount(clusters))
    return cluster_names([[words[number] for number in own[:MOST_LOOKED_AT].tolist()] for own in ranked])
