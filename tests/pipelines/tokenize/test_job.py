"""The tokenize job on a real Ray session, against a plain loop in this process."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from token_datasets import documents, tokenized

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import document_tokens
from ulmfit_ray.text.vocab import Vocab

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_documents_and_vocabulary_equal_those_of_a_plain_loop(tokens: str, abstracts: list[dict[str, str]]) -> None:
    tokenizer = make_tokenizer(TokenizerSettings())
    expected = {row["_id"]: document_tokens(tokenizer, [row["title"], row["text"]]) for row in abstracts}
    assert documents(tokens) == expected
    counts = Counter(token for document in expected.values() for token in document)
    vocab = Vocab.from_json(Folder(tokens).read_json("vocab.json"))
    found = dict(zip(vocab.itos, vocab.counts.tolist(), strict=True))
    assert {token: count for token, count in found.items() if count} == counts
    words = [(-count, token) for token, count in found.items() if token not in vocab.itos[:9]]
    assert words == sorted(words)
    assert vocab.num_tokens == sum(counts.values())


def test_the_manifest_says_what_a_plain_loop_counts(abstracts: list[dict[str, str]], tmp_path: Path) -> None:
    texts = [row["text"] for row in abstracts] + [abstracts[number]["title"] for number in (5, 5, 7)]
    files = [texts[:100], texts[100:], [abstracts[7]["title"], texts[150]]]
    (tmp_path / "in").mkdir()
    for number, lines in enumerate(files):
        content = "".join(json.dumps({"text": text}) + "\n" for text in lines)
        (tmp_path / f"in/{number}.jsonl").write_text(content)
    figures = tokenized(TokenizeConfig(input=(str(tmp_path / "in"),), output=str(tmp_path / "out"))).figures
    tokenizer = make_tokenizer(TokenizerSettings())
    tokens = [document_tokens(tokenizer, [text]) for lines in files for text in lines]
    counts = Counter(token for document in tokens for token in document)
    num_unknown = sum(count for token, count in counts.items() if count < 3 and not token.startswith("xx"))
    assert figures["num_types"] == len(counts)
    assert (figures["num_unknown"], figures["unknown_rate"]) == (
        num_unknown,
        pytest.approx(num_unknown / counts.total(), abs=1e-6),
    )
    unknown = [token for token, count in counts.items() if count < 3 and not token.startswith("xx")]
    assert figures["num_unknown_bytes"] == sum(len(token.encode()) * counts[token] for token in unknown)
    # Abstracts have no markup: cleaning takes runs of spaces away, and no bytes otherwise.
    cleaned = [" ".join(text.split()) for lines in files for text in lines]
    assert figures["num_text_bytes"] == sum(len(text.encode()) + 1 for text in cleaned)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
    assert list(figures["most_frequent_tokens"].items()) == expected
    lengths = [len(document) for document in tokens]
    assert figures["document_lengths"]["95%"] == np.percentile(lengths, 95, method="inverted_cdf")
    assert figures["document_lengths"]["mean"] == pytest.approx(np.mean(lengths), abs=0.01)
    # Small files share a shard.
    assert [figures[f"num_duplicates{suffix}"] for suffix in ("_in_shards", "", "_error")] == [3, 3, 0]
    verify.run(VerifyConfig(input=str(tmp_path / "out")))


def test_fields_lie_where_the_dataset_says(tokens: str, abstracts: list[dict[str, str]]) -> None:
    tokenizer = make_tokenizer(TokenizerSettings())
    titles = {row["_id"]: row["title"] for row in abstracts}
    dataset = TokenDataset(tokens)
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    for table in dataset.tables():
        assert str(table.schema.field("tokens").type) == "list<item: uint16>"
        for row in table.to_pylist():
            title = row["tokens"][row["field_starts"][0] : row["field_ends"][0]]
            assert [itos[token_id] for token_id in title] == tokenizer(titles[row["doc_id"]])
            assert row["title"] == titles[row["doc_id"]]
            assert row["field_ends"][1] == len(row["tokens"])
