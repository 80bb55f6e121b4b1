"""What a directory is and a few of its rows, as a person reads it."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from classifiers import RATING

from ulmfit_ray.cli import main
from ulmfit_ray.commands import inspect
from ulmfit_ray.commands.inspect import InspectConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.rules import SPECIAL_TOKENS

MakeTokenDataset = Callable[..., TokenDataset]


def shown(capsys: pytest.CaptureFixture[str], uri: str, rows: int = 2) -> str:
    inspect.run(InspectConfig(input=uri, rows=rows))
    return capsys.readouterr().out


def test_documents_are_shown_as_text_field_by_field_with_what_was_kept(
    capsys: pytest.CaptureFixture[str], tokens: str, abstracts: list[dict[str, str]]
) -> None:
    text = shown(capsys, tokens)
    assert "tokenize, complete" in text
    assert "made with: ulmfit-ray tokenize ..." in text
    for row in abstracts[:8:4]:
        assert f"'doc_id': '{row['_id']}'" in text
        assert one_line(f"title: {row['title']}") in one_line(text)
        assert one_line(f"text: {row['text'][:30]}") in one_line(text)
    assert not re.search("xxbos|xxmaj|xxup", text[text.index("doc_id") :])


def test_tokens_that_spacy_did_not_cut_stand_apart(
    capsys: pytest.CaptureFixture[str], make_token_dataset: MakeTokenDataset
) -> None:
    dataset = make_token_dataset([[("a", [[9, 10]])]])
    write_words(dataset, "two", ".", kind="whitespace")
    assert one_line(shown(capsys, dataset.folder.uri)).endswith("text: two .")


def one_line(text: str) -> str:
    return " ".join(text.split()).lower()


def test_a_long_field_is_cut_and_its_length_named(
    capsys: pytest.CaptureFixture[str], make_token_dataset: MakeTokenDataset
) -> None:
    # With xxbos, which is not shown, the first has 100 tokens, the second 101.
    dataset = make_token_dataset([[("a", [[9] * 99]), ("b", [[9] * 100])]])
    write_words(dataset, "word")
    lines = one_line(shown(capsys, dataset.folder.uri)).split("{'doc_id': ")
    words = " ".join(["word"] * 99)
    assert [line.strip() for line in lines[-2:]] == [f"'a'}} text: {words}", f"'b'}} text: {words} ... (101 tokens)"]


def write_words(dataset: TokenDataset, *words: str, kind: str = "spacy") -> None:
    """Give a dataset a vocabulary: the special tokens, then these words from id 9 on."""
    dataset.folder.publish_json({"tokens": [*SPECIAL_TOKENS, *words]}, "vocab.json")
    dataset.folder.publish_json({"kind": kind}, "tokenizer.json")


def test_a_batch_is_shown_with_each_row_beside_itself_one_token_later(
    capsys: pytest.CaptureFixture[str], make_token_dataset: MakeTokenDataset
) -> None:
    # xxbos and 22 words make two columns of 11 tokens and their next; only the first five of each are asked for.
    dataset = make_token_dataset([[("a", [range(9, 31)])]])
    write_words(dataset, *(f"w{number}" for number in range(1, 22)), "\n")
    assert main(["inspect", dataset.folder.uri, "--batch", "-n", "2", "--bptt", "5"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[-4:]] == [
        "row 1 reads xxbos w1 w2 w3 w4",
        "predicts w1 w2 w3 w4 w5",
        "row 2 reads w11 w12 w13 w14 w15",
        "predicts w12 w13 w14 w15 w16",
    ]
    assert main(["inspect", dataset.folder.uri, "--batch", "-n", "1", "--bptt", "99"]) == 0
    assert capsys.readouterr().out.endswith(" w20 w21 \\n\n")


def test_a_batch_that_cannot_be_made_is_refused_with_what_to_do(
    capsys: pytest.CaptureFixture[str], tokens: str, embeddings: str
) -> None:
    assert main(["inspect", tokens, "--batch", "-n", "99999999"]) == 2
    assert "tokens are too few for a batch of 99999999 rows: lower -n" in capsys.readouterr().err
    assert main(["inspect", embeddings, "--batch"]) == 2
    assert "is an output of `embed`: only a token dataset has batches" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--bptt of at least 1"):
        InspectConfig(input=tokens, batch=True, bptt=0)


def test_vectors_are_shown_by_their_first_numbers_and_width(
    capsys: pytest.CaptureFixture[str], embeddings: str
) -> None:
    text = shown(capsys, embeddings, rows=1)
    assert "embed, complete" in text
    assert text.count("(96 numbers)") == 1


def test_a_model_is_shown_by_its_description(capsys: pytest.CaptureFixture[str], retriever: str) -> None:
    text = shown(capsys, retriever)
    assert "train-retriever, complete" in text
    assert '"kind": "retriever"' in text


@pytest.mark.parametrize("option", ["-n", "--rows"])
def test_the_number_of_documents_may_be_named_briefly_and_reach_beyond_the_first_shard(
    capsys: pytest.CaptureFixture[str], tokens: str, embeddings: str, option: str
) -> None:
    for number in (0, 1, 70, 200):
        assert main(["inspect", tokens, option, str(number)]) == 0
        assert capsys.readouterr().out.count("'doc_id': ") == number
        assert main(["inspect", embeddings, option, str(number)]) == 0
        assert capsys.readouterr().out.count("(96 numbers)") == number
    assert main(["inspect", tokens, option, "1000"]) == 0
    assert capsys.readouterr().out.count("'doc_id': ") == 200


def test_a_model_takes_the_number_of_documents_too(capsys: pytest.CaptureFixture[str], retriever: str) -> None:
    assert main(["inspect", retriever, "-n", "5"]) == 0
    assert '"kind": "retriever"' in capsys.readouterr().out


def test_a_negative_number_of_documents_is_refused(tokens: str) -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        InspectConfig(input=tokens, rows=-1)


def test_predictions_are_shown_with_the_probable_labels_first(
    capsys: pytest.CaptureFixture[str], predictions: str
) -> None:
    text = shown(capsys, predictions, rows=60)
    assert "classify, complete" in text
    tables = [pq.read_table(path) for path in sorted(Path(predictions, "shards").iterdir())]
    rows = pa.concat_tables(tables).slice(0, 60).to_pylist()
    lines = [line.split() for line in text.splitlines() if re.match("    (neg|neutral|pos) ", line)]
    assert len(lines) == text.count("'doc_id': ") == len(rows)
    for row, (best, probability, *others) in zip(rows, lines, strict=True):
        assert best == row["prediction"]
        assert probability == f"{max(row['probabilities']):.4f},"
        assert sorted({best, *others[::2]}) == ["neg", "neutral", "pos"]


def test_of_many_labels_some_are_shown_and_their_number(
    capsys: pytest.CaptureFixture[str], make_predictions: Callable[[ClassifierHead], str]
) -> None:
    many = ClassifierHead(objective="multi-label", labels=tuple(f"topic {number}" for number in range(30)))
    text = shown(capsys, make_predictions(many), rows=1)
    assert text.splitlines()[-1].count("topic") == 5
    assert text.endswith(", ... (30 labels)\n")


def test_a_predicted_number_stands_in_its_row(
    capsys: pytest.CaptureFixture[str], make_predictions: Callable[[ClassifierHead], str]
) -> None:
    text = shown(capsys, make_predictions(RATING), rows=3)
    assert len(re.findall(r"'prediction': -?\d+\.\d+", text)) == 3
    assert text.rstrip("\n").endswith("}")
