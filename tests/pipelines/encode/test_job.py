"""What `classify` and `embed` take for a token dataset and what for raw text, and what they refuse; all before Ray."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from classifiers import SENTIMENT, random_classifier, write_classifier

from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import claim_output
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.pipelines.encode import classify, embed
from ulmfit_ray.pipelines.encode.config import ClassifyConfig, EmbedConfig
from ulmfit_ray.pipelines.encode.over_text import TextSource
from ulmfit_ray.pipelines.encode.over_tokens import OverTokens
from ulmfit_ray.pipelines.encode.verb import UnchangedModels
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.plan import write_plan
from ulmfit_ray.storage.receipts import Receipt, Receipts
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    ones = np.ones(len(SPECIAL_TOKENS), np.int64)
    shape = Architecture(vocab_size=len(ones), embedding_dim=4, hidden_size=6, num_layers=1)
    vocab = Vocab(list(SPECIAL_TOKENS), ones, ones, num_documents=9, num_tokens=99)
    tokenizer = make_tokenizer(TokenizerSettings(kind="whitespace", rules=NONE)).to_json()
    place = tmp_path_factory.mktemp("models") / "m"
    return write_classifier(place, random_classifier(SENTIMENT, shape), vocab, tokenizer)


@pytest.fixture
def tokens(make_token_dataset: Callable[..., TokenDataset]) -> str:
    """Tokens of another vocabulary than the model's."""
    return make_token_dataset([[("a", [[3]])]]).folder.uri


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A folder of raw text."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text/in.csv").write_text("text,prediction\none two,x\n")
    return str(tmp_path / "text")


def refused(model: str, *inputs: str, output: str | None = None, **options: object) -> str:
    """Return what is said when that is to be classified; nothing is begun."""
    place = output or f"{Path(model).parent}/out"
    with pytest.raises((ConfigError, ValueError)) as error:
        classify.run(ClassifyConfig(model=(model,), input=inputs, output=place, **options))
    assert not Path(place, "config.json").exists()
    return str(error.value)


def test_tokens_of_other_words_are_refused_with_both_ways_out(model: str, tokens: str) -> None:
    told = refused(model, tokens)
    assert "does not fit model" in told
    assert told.endswith(f"ulmfit-ray tokenize ... --vocab {model}, or give the raw text")


def test_options_that_name_nothing_or_a_model_twice_are_refused(model: str, text: str) -> None:
    assert refused(model) == "--input needs a token dataset, or at least one file, folder, glob or URI of raw text"
    with pytest.raises(ConfigError, match="--model names a directory twice: its probabilities would count double"):
        ClassifyConfig(model=(model, model), input=(text,), output="out")


def test_an_output_that_was_begun_with_one_input_is_gone_on_with_by_the_same_as_a_list(
    model: str, tokens: str, tmp_path: Path
) -> None:
    config = ClassifyConfig(model=(model,), input=(tokens,), output=str(tmp_path / "out"))
    folder, _ = claim_output("classify", config)
    written = folder.read_json("config.json")
    assert written["job"]["input"] == [tokens]
    written["job"]["input"] = tokens
    folder.publish_json(written, "config.json")
    claim_output("classify", config)
    with pytest.raises(ConfigError, match="belongs to another config"):
        claim_output("classify", replace(config, input=(f"{tokens}-other",)))


def test_models_of_several_vocabularies_are_told_to_take_raw_text(model: str, tokens: str, tmp_path: Path) -> None:
    ones = np.ones(len(SPECIAL_TOKENS) + 1, np.int64)
    shape = Architecture(vocab_size=len(ones), embedding_dim=4, hidden_size=6, num_layers=1)
    vocab = Vocab([*SPECIAL_TOKENS, "more"], ones, ones, num_documents=9, num_tokens=99)
    tokenizer = make_tokenizer(TokenizerSettings(kind="whitespace", rules=NONE)).to_json()
    other = write_classifier(tmp_path / "other", random_classifier(SENTIMENT, shape), vocab, tokenizer)
    with pytest.raises(ConfigError, match="these models have several: give the raw text"):
        classify.run(ClassifyConfig(model=(model, other), input=(tokens,), output=str(tmp_path / "out")))


def test_a_model_that_is_made_again_while_an_actor_starts_makes_no_shard(model: str) -> None:
    def rows(*shard: object) -> str:
        return "rows"

    uri, seen = model, ModelDirectory(model).fingerprint
    assert UnchangedModels(lambda: rows, {uri: seen})(None, None, []) == "rows"
    with pytest.raises(RuntimeError, match=f"model {model} has changed since this job began"):
        UnchangedModels(lambda: rows, {uri: "another"})(None, None, [])


def test_tokens_that_are_made_again_while_an_actor_starts_make_no_shard(tokens: str) -> None:
    config = ClassifyConfig(model=("m",), input=(tokens,), output="out")
    work = OverTokens(lambda: None, config, tokens=tokens, fingerprint="another", plan="p", where="done")
    with pytest.raises(RuntimeError, match=f"tokens {tokens} have changed since this job began"):
        work("part-0000000")


def test_a_token_dataset_among_other_inputs_is_refused(model: str, tokens: str, text: str) -> None:
    told = refused(model, text, tokens)
    assert told == f"--input {tokens} is a data set of ulmfit-ray: name it alone, or name raw text"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"text_columns": ("title", "text")}, "--text-columns"),
        ({"header": False}, "--no-header"),
        ({"limit": 5, "max_bad_fraction": 0.5}, "--limit"),
        ({"mark_fields": "no"}, "--mark-fields"),
    ],
)
def test_ways_to_read_text_are_refused_with_tokens(model: str, tokens: str, options: dict, name: str) -> None:
    assert refused(model, tokens, **options) == f"{name} is for raw text, and --input {tokens} is not: leave it out"


def test_an_output_inside_its_input_is_refused(model: str, text: str, tokens: str) -> None:
    assert "lies inside input" in refused(model, text, output=f"{text}/out")
    with pytest.raises(ConfigError, match="lies inside input"):
        embed.run(EmbedConfig(model=(model,), input=(text,), output=text, overwrite=True))


def test_an_unfinished_token_dataset_is_not_read_as_text(model: str, tokens: str) -> None:
    Path(tokens, "manifest.json").unlink()
    assert "its tokenize job has not finished" in refused(model, tokens)


def test_what_is_not_there_is_no_text(model: str, tmp_path: Path) -> None:
    assert refused(model, str(tmp_path / "nowhere")) == f"input {tmp_path}/nowhere matches no file"


def test_an_output_that_was_begun_over_tokens_is_not_gone_on_with_over_text(
    model: str, tokens: str, text: str, tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    folder, _ = claim_output("classify", ClassifyConfig(model=(model,), input=(tokens,), output=output))
    write_plan(folder, pa.table({"shard": ["part-0000000"]}), identity={})
    with pytest.raises(ConfigError, match=r"belongs to another config \(.*input: "):
        classify.run(ClassifyConfig(model=(model,), input=(text,), output=output))


def test_text_of_which_no_document_can_be_read_is_an_error(model: str, text: str, tmp_path: Path) -> None:
    source = TextSource(
        ClassifyConfig(model=(model,), input=(text,), output=str(tmp_path / "out")), [ModelDirectory(model)]
    )
    receipt = Receipt(plan="p", shard="part-0000000", num_documents=0, num_tokens=0, quarantined={"null text": 1})
    with pytest.raises(RuntimeError, match="holds no document that can be read: nothing to encode"):
        source.check(Receipts.of([receipt]))
    source.check(Receipts.of([receipt, replace(receipt, num_documents=1)]))


def test_a_column_that_is_predicted_cannot_be_kept(model: str, text: str) -> None:
    assert "column prediction cannot be kept" in refused(model, text, keep_columns=("prediction",))


@pytest.mark.parametrize("content", ["no JSON", "[]", json.dumps({"model_type": "bert"})])
def test_a_folder_with_a_config_of_somebody_elses_is_text(
    model: str, text: str, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(text, "config.json").write_text(content)
    Path(text, "in.csv").unlink()
    config = ClassifyConfig(model=(model,), input=(text,), output=str(tmp_path / "out"), format="lines", dry_run=True)
    assert classify.run(config) is None
    assert "plan: 1 files in 1 units, 0 shards written" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
