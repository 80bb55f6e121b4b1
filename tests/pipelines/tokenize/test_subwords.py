"""The model of a tokenizer of pieces: which text it is trained on, and where it comes from when it is not trained."""

import gzip
import json
from pathlib import Path

import pytest

from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import detect_format
from ulmfit_ray.corpus.listing import list_inputs
from ulmfit_ray.corpus.open_text import is_compressed
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit, units_table
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig, TokenizerOptions
from ulmfit_ray.pipelines.tokenize.subwords import claimed_model, given_model, sample_texts
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Plan, write_plan
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.tokenizers.subwords import train

LINES = [f"this is line number {number} of all lines {number % 7}" for number in range(60)]


def plan_of(folder: Folder, *files: Path, num_columns: int = 1) -> Plan:
    """Return a plan in which every file is a unit."""
    found = list_inputs([str(path) for path in files])
    units = [
        Unit(number, (Piece(file.path, file.name, 0, file.size),), is_compressed(file.path))
        for number, file in enumerate(found)
    ]
    facts = CorpusFacts(
        format=detect_format(found, "auto").name,
        options=ReadingOptions(),
        columns=Columns(text=("text", "title")[:num_columns]),
        num_files=1,
        num_bytes=0,
        text_bytes=0,
        unit_bytes=200,
    )
    return write_plan(folder, units_table(units, found), identity={}, corpus=facts.to_json())


def write_lines(path: Path, lines: list[str]) -> Path:
    """Write a compressed file of documents, which is a unit by itself."""
    path.write_bytes(gzip.compress("".join(json.dumps({"text": line}) + "\n" for line in lines).encode()))
    return path


@pytest.fixture
def plan(tmp_path: Path, folder: Folder) -> Plan:
    return plan_of(folder, *(write_lines(tmp_path / f"{part}.jsonl.gz", LINES[part::3]) for part in range(3)))


def config(output: str, vocab: str | None = None, **options: object) -> TokenizeConfig:
    options.setdefault("kind", "sentencepiece")
    return TokenizeConfig(input=("in",), output=output, vocab=vocab, tokenizer=TokenizerOptions(**options))


def test_a_small_corpus_is_its_own_sample(plan: Plan) -> None:
    assert sample_texts(plan, 1 << 20) == [line for part in range(3) for line in LINES[part::3]]


def test_each_unit_gives_its_first_bytes_in_equal_shares(plan: Plan) -> None:
    texts = sample_texts(plan, 300)
    assert sum(map(len, texts)) == 300
    for part in range(3):
        joined = "".join(LINES[part::3])
        assert joined[:100] in "".join(texts)
    assert "".join(texts) == "".join("".join(LINES[part::3])[:100] for part in range(3))


def test_what_a_small_unit_leaves_goes_to_those_behind_it(tmp_path: Path, folder: Folder) -> None:
    small = write_lines(tmp_path / "a.jsonl.gz", ["ab"])
    plan = plan_of(folder, small, write_lines(tmp_path / "b.jsonl.gz", LINES))
    assert sample_texts(plan, 302) == [
        "ab",
        *sample_texts(plan_of(Folder(f"{folder.uri}2"), tmp_path / "b.jsonl.gz"), 300),
    ]


def test_of_many_units_those_that_lie_evenly_are_read(
    tmp_path: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulmfit_ray.pipelines.tokenize.subwords.MAX_UNITS_SAMPLED", 3)
    plan = plan_of(folder, *(write_lines(tmp_path / f"{number}.jsonl.gz", [f"text {number}"]) for number in range(9)))
    assert sample_texts(plan, 1000) == ["text 0", "text 3", "text 6"]


def test_all_fields_of_good_documents_are_in_the_sample_and_characters_stay_whole(
    tmp_path: Path, folder: Folder
) -> None:
    rows = ['{"text": "one", "title": "two"}', "no json", '{"text": "\u00e4\u00e4\u00e4", "title": ""}']
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    plan = plan_of(folder, tmp_path / "in.jsonl", num_columns=2)
    assert sample_texts(plan, 1000) == ["one", "two", "\u00e4\u00e4\u00e4", ""]
    assert sample_texts(plan, 9) == ["one", "two", "\u00e4"]


def test_the_model_is_trained_on_the_sample_once(plan: Plan, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(folder.uri, vocab_size=60, sample_bytes=2000)
    model = claimed_model(asked, folder, plan, None)
    settings = TokenizerSettings(kind="sentencepiece")
    assert model == train(sample_texts(plan, 2000), settings, model_type="unigram", vocab_size=60)
    assert folder.read_bytes("tokenizer.model") == model
    monkeypatch.setattr("ulmfit_ray.pipelines.tokenize.subwords.sample_texts", lambda *_: pytest.fail("read again"))
    assert claimed_model(asked, folder, plan, None) == model


def test_a_given_model_is_copied_and_another_one_is_refused_later(tmp_path: Path, plan: Plan, folder: Folder) -> None:
    (tmp_path / "given.model").write_bytes(b"one")
    asked = config(folder.uri, model=str(tmp_path / "given.model"))
    assert claimed_model(asked, folder, plan, given_model(asked)) == b"one" == folder.read_bytes("tokenizer.model")
    (tmp_path / "given.model").write_bytes(b"two")
    with pytest.raises(ConfigError, match=r"was begun with another tokenizer\.model"):
        claimed_model(asked, folder, plan, given_model(asked))


def test_a_vocabularys_model_is_used_and_asked_for(tmp_path: Path, folder: Folder) -> None:
    asked = config(folder.uri, vocab=str(tmp_path / "tokens"))
    (tmp_path / "tokens").mkdir()
    with pytest.raises(ConfigError, match=r"tokens has no tokenizer\.model: its words were not cut into pieces"):
        given_model(asked)
    (tmp_path / "tokens/tokenizer.model").write_bytes(b"pieces")
    assert given_model(asked) == b"pieces"
    with pytest.raises(ConfigError, match="tokens is of pieces of words: add --tokenizer"):
        given_model(config(folder.uri, vocab=asked.vocab, kind="spacy"))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--tokenizer\.model .*missing\.model does not exist"):
        given_model(config("out", model=str(tmp_path / "missing.model")))


def test_other_kinds_have_no_model(plan: Plan, folder: Folder) -> None:
    plain = config(folder.uri, kind="whitespace")
    assert given_model(plain) is claimed_model(plain, folder, plan, None) is None
    assert not folder.exists("tokenizer.model")
