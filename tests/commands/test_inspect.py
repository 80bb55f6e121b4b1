"""What a directory is and a few of its rows, as a person reads it."""

import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands import inspect
from ulmfit_ray.commands.inspect import InspectConfig
from ulmfit_ray.config import ConfigError


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


@pytest.mark.parametrize("option", ["-n", "--rows"])
def test_the_number_of_documents_may_be_named_briefly_and_reach_beyond_the_first_shard(
    capsys: pytest.CaptureFixture[str], tokens: str, embeddings: str, option: str
) -> None:
    for number in (0, 1, 70, 200):
        assert main(["inspect", tokens, option, str(number)]) == 0
        assert capsys.readouterr().out.count("xxbos") == number
        assert main(["inspect", embeddings, option, str(number)]) == 0
        assert capsys.readouterr().out.count("(96 numbers)") == number
    assert main(["inspect", tokens, option, "1000"]) == 0
    assert capsys.readouterr().out.count("xxbos") == 200


def test_a_model_takes_the_number_of_documents_too(capsys: pytest.CaptureFixture[str], retriever: str) -> None:
    assert main(["inspect", retriever, "-n", "5"]) == 0
    assert '"kind": "retriever"' in capsys.readouterr().out


def test_a_negative_number_of_documents_is_refused(tokens: str) -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        InspectConfig(input=tokens, rows=-1)
