"""What a directory is and a few of its rows, as a person reads it."""

import pytest

from ulmfit_ray.commands import inspect
from ulmfit_ray.commands.inspect import InspectConfig


def shown(capsys: pytest.CaptureFixture[str], uri: str, rows: int = 2) -> str:
    inspect.run(InspectConfig(input=uri, rows=rows))
    return capsys.readouterr().out


def test_tokens_are_shown_as_words_with_what_was_kept(
    capsys: pytest.CaptureFixture[str], tokens: str, abstracts: list[dict[str, str]]
) -> None:
    text = shown(capsys, tokens)
    assert "tokenize, complete" in text
    assert "made with: ulmfit-ray tokenize ..." in text
    assert text.count("xxbos") == 2
    assert abstracts[0]["_id"] in text


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
