"""The tokenize job with other tokenizers than spaCy, and what is made from its output."""

import shutil
from pathlib import Path

import pytest
from token_datasets import documents

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig, TokenizerOptions
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.pipelines.train import pretrain
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import read_tokenizer_model
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.tokenizers.kinds import load_tokenizer
from ulmfit_ray.text.types import document_tokens
from ulmfit_ray.training.config import LanguageModelTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
PIECES = TokenizerOptions(kind="sentencepiece", vocab_size=400, sample_bytes=100_000)


@pytest.fixture
def corpus(tmp_path: Path, abstracts: list[dict[str, str]]) -> dict[str, str]:
    """Write abstracts as one file each, and return their texts by document id."""
    (tmp_path / "in").mkdir()
    texts = {f"{row['_id']}.txt": row["text"].replace(". ", ".\n") for row in abstracts[::4]}
    for name, text in texts.items():
        (tmp_path / "in" / name).write_text(text)
    return {f"{name}#0": text for name, text in texts.items()}


def config(tmp_path: Path, tokenizer: TokenizerOptions, name: str = "out", vocab: str | None = None) -> TokenizeConfig:
    return TokenizeConfig(
        input=(str(tmp_path / "in"),),
        output=str(tmp_path / name),
        tokenizer=tokenizer,
        vocab=vocab,
        min_freq=3 if vocab else 1,
    )


@pytest.mark.parametrize(
    "tokenizer",
    [
        TokenizerOptions(kind="whitespace", eos="line"),
        TokenizerOptions(kind="characters", eos="document"),
        TokenizerOptions(kind="spacy", eos="line"),
        PIECES,
    ],
    ids=lambda tokenizer: tokenizer.kind,
)
def test_documents_are_those_of_the_tokenizer_that_the_output_describes(
    tmp_path: Path, corpus: dict[str, str], tokenizer: TokenizerOptions
) -> None:
    asked = config(tmp_path, tokenizer)
    manifest = run(asked)
    assert manifest is not None
    folder = Folder(asked.output)
    described = load_tokenizer(folder.read_json("tokenizer.json"), read_tokenizer_model(folder))
    assert documents(asked.output) == {name: document_tokens(described, [text]) for name, text in corpus.items()}
    assert manifest.tokenizer == described.fingerprint
    assert verify.run(VerifyConfig(input=asked.output))["num_documents"] == len(corpus)
    if tokenizer.kind == "sentencepiece":
        assert manifest.files["tokenizer.model"] == folder.sha256("tokenizer.model")
    assert run(asked) == manifest


def test_pieces_are_the_same_whether_their_model_is_trained_or_found_or_given(
    tmp_path: Path, corpus: dict[str, str]
) -> None:
    trained = config(tmp_path, PIECES)
    run(trained)
    shards = TokenDataset(trained.output).fingerprint
    # A run that was killed before its first shard left its plan and its model.
    for name in ("manifest.json", "done", "shards", "shards.parquet", "vocab.json"):
        Folder(trained.output).delete(name)
    run(trained)
    assert TokenDataset(trained.output).fingerprint == shards
    given = TokenizerOptions(kind="sentencepiece", model=f"{trained.output}/tokenizer.model")
    run(config(tmp_path, given, "given"))
    by_vocab = TokenizerOptions(kind="sentencepiece")
    run(config(tmp_path, by_vocab, "by_vocab", vocab=trained.output))
    assert TokenDataset(str(tmp_path / "given")).fingerprint == shards
    assert TokenDataset(str(tmp_path / "by_vocab")).fingerprint == shards
    begun = Folder(str(tmp_path / "by_vocab"))
    begun.publish_bytes(b"another", "tokenizer.model")
    begun.delete("manifest.json")
    with pytest.raises(ConfigError, match=r"by_vocab was begun with another tokenizer\.model"):
        run(config(tmp_path, by_vocab, "by_vocab", vocab=trained.output))


def test_a_model_of_pieces_reads_raw_text_without_its_token_dataset(tmp_path: Path, corpus: dict[str, str]) -> None:
    asked = config(tmp_path, PIECES)
    run(asked)
    tokens = documents(asked.output)
    pretrain.run(
        PretrainConfig(
            tokens=asked.output,
            output=str(tmp_path / "lm"),
            architecture=ArchitectureOptions(embedding_dim=8, hidden_size=8, num_layers=1),
            training=LanguageModelTraining(num_epochs=1, global_batch_size=8, bptt=32, learning_rate=1e-2),
            scaling=Scaling(num_cpus=1),
        )
    )
    shutil.rmtree(asked.output)
    assert "tokenizer.model" in verify_files(tmp_path / "lm")
    encoder = DocumentEncoder.load(str(tmp_path / "lm"), "cpu")
    name, text = next(iter(corpus.items()))
    (ids,) = encoder.numericalize([text])
    assert [encoder.vocab.itos[token_id] for token_id in ids] == tokens[name]


def verify_files(path: Path) -> dict[str, str]:
    verify.run(VerifyConfig(input=str(path)))
    files: dict[str, str] = Folder(str(path)).read_json("manifest.json")["files"]
    return files
