"""Our tokens against fastai's own (tests/golden), and what a tokenizer's fingerprint promises."""

import gzip
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.tokenizers.spacy_words import MAX_STRETCH, PACKAGES, SpacyTokenizer, pieces, stretches
from ulmfit_ray.text.types import document_tokens

TESTS = Path(__file__).parents[2]
GOLDEN = json.loads((TESTS / "golden/fastai_tokens.json").read_text())
SAMPLE = TESTS.parent / "jobs/sample/scifact/corpus.jsonl.gz"


@pytest.mark.parametrize("row", GOLDEN, ids=range(len(GOLDEN)))
def test_tokens_are_those_of_fastai_one_for_one(tokenizer: SpacyTokenizer, row: dict) -> None:
    assert document_tokens(tokenizer, [row["text"]]) == row["tokens"]


def test_tokens_do_not_depend_on_what_the_tokenizer_saw_before(tokenizer: SpacyTokenizer) -> None:
    fresh = SpacyTokenizer(TokenizerSettings())
    for row in reversed(GOLDEN):
        assert document_tokens(fresh, [row["text"]]) == row["tokens"] == document_tokens(tokenizer, [row["text"]])


def test_golden_file_holds_every_kind_of_text_it_should() -> None:
    texts = [row["text"] for row in GOLDEN]
    assert len(texts) == len(set(texts)) >= 100
    assert {"", "    ", "\n \n", ":O(((", "2) :O(((", "back'' ''Return", "xxbos XXUP"} <= set(texts)
    assert any("\n\u2581" in row["tokens"] for row in GOLDEN if "\u2581" not in row["text"])


def test_special_tokens_in_a_text_stay_whole(tokenizer: SpacyTokenizer) -> None:
    assert tokenizer(" ".join(SPECIAL_TOKENS)) == list(SPECIAL_TOKENS)


def test_text_over_a_million_characters_is_tokenized_whole(tokenizer: SpacyTokenizer) -> None:
    text = "ab cd " * 200_000
    assert len(text) > 1_000_000
    assert tokenizer(text) == ["ab", "cd"] * 200_000


def test_distinct_tokens_of_many_texts_stand_in_the_order_of_their_first_occurrence(tokenizer: SpacyTokenizer) -> None:
    found = tokenizer.tokenize(["Some words, some\n more words", "", "more words, and others"])
    assert found.types == ["xxmaj", "some", "words", ",", "\n\u2581", "more", "and", "others"]
    assert found.ids.tolist() == [0, 1, 2, 3, 1, 4, 5, 2, 5, 2, 3, 6, 7]
    assert found.bounds.tolist() == [0, 8, 8, 13]
    assert tokenizer.tokenize([]).bounds.tolist() == [0]


@pytest.mark.parametrize("limit", ["MAX_STRINGS", "MAX_ROWS"])
def test_forgetting_words_changes_no_token(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    own = SpacyTokenizer(TokenizerSettings())
    texts = ["xxbos Zyzzyva qwertzuiop don't"]
    before = own.tokenize(texts)
    table = own._table
    monkeypatch.setattr(f"ulmfit_ray.text.tokenizers.spacy_words.{limit}", 0)
    own.forget()
    assert own._table is not table
    assert own.tokenize(texts).types == before.types == own(texts[0])


def test_fingerprint_is_the_same_under_another_hash_seed(tokenizer: SpacyTokenizer) -> None:
    program = (
        "import sys; sys.modules['torch'] = None;"
        "from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer;"
        "print(hash('a'), make_tokenizer(TokenizerSettings()).fingerprint)"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": seed}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    other_hash, fingerprint = output.stdout.split()
    assert int(other_hash) != hash("a")
    assert fingerprint == tokenizer.fingerprint


def test_a_tokenizers_process_does_not_pay_for_torch() -> None:
    program = (
        "import sys; from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer;"
        "tokens = make_tokenizer(TokenizerSettings()).tokenize(['a b']).types; assert 'torch' not in sys.modules;"
        "import torch; assert torch.ones(1).item() == 1 and tokens == ['a', 'b']"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("change", [{"lang": "de"}, {"rules": ("none",)}, {"mark_fields": True}])
def test_fingerprint_changes_with_every_setting(tokenizer: SpacyTokenizer, change: dict) -> None:
    assert SpacyTokenizer(replace(TokenizerSettings(), **change)).fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize(
    ("lang", "fingerprint"), [("en", "252d160a58dc1efa"), ("de", "481e485d459df066"), ("ru", "6f85b9b58249565f")]
)
def test_fingerprints_of_languages_that_spacys_rules_cut_are_those_of_the_first_version(
    lang: str, fingerprint: str
) -> None:
    # With another version of spaCy its rules may differ, and these then too.
    assert SpacyTokenizer(TokenizerSettings(lang=lang)).fingerprint.startswith(fingerprint)


@pytest.fixture(scope="module")
def chinese() -> SpacyTokenizer:
    return SpacyTokenizer(TokenizerSettings(lang="zh"))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("\u6211\u7231\u5317\u4eac\u3002", "\u6211 \u7231 \u5317 \u4eac \u3002"),
        ("\u54c8\u54c8\u54c8\u54c8\uff0c\u597d\u3002\u3002\u3002", "xxrep 4 \u54c8 \uff0c \u597d xxrep 3 \u3002"),
        ("\u53d1\u5c04 NASA \u706b\u7bad", "\u53d1 \u5c04 xxup n a s a \u706b \u7bad"),
        ("Apple \u5f88\u597d", "xxmaj a p p l e \u5f88 \u597d"),
        ("\u597d \u597d", "\u597d \u597d"),
        ("xxbos xxup", "xxbos xxup"),
        ("", ""),
    ],
)
def test_chinese_is_cut_into_characters_between_special_tokens(chinese: SpacyTokenizer, text: str, tokens: str) -> None:
    assert chinese(text) == tokens.split()


def test_ids_of_a_chinese_text_are_those_of_its_tokens(chinese: SpacyTokenizer) -> None:
    text = "\u53d1\u5c04 NASA \u706b\u7bad\uff0c\u54c8\u54c8\u54c8"
    found = chinese.tokenize([text, "", text])
    assert [found.types[number] for number in found.ids] == 2 * chinese(text)
    assert found.bounds.tolist() == [0, len(chinese(text)), len(chinese(text)), 2 * len(chinese(text))]


def test_a_special_token_is_cut_out_only_as_a_whole_word() -> None:
    found = list(stretches("xxbos a xxupper xxup b. xxmaj xxrep\nc xxpad-x"))
    special = [("xxbos", True), ("a xxupper", False), ("xxup", True), ("b.", False), ("xxmaj", True), ("xxrep", True)]
    assert found == [*special, ("\nc xxpad-x", False)]


@pytest.mark.parametrize(
    ("lang", "module", "needs"),
    [
        ("ja", "sudachipy", "sudachipy and sudachidict_core"),
        ("ko", "natto", "mecab-ko and mecab-ko-dic on this machine, and natto-py"),
        ("th", "pythainlp", "pythainlp"),
        ("vi", "pyvi", "pyvi"),
    ],
)
def test_a_language_without_its_package_is_refused_in_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, lang: str, module: str, needs: str
) -> None:
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as error:
        make_tokenizer(TokenizerSettings(lang=lang))
    assert str(error.value) == f"--lang {lang} needs {needs}: pip install 'ulmfit-ray[{lang}]'"


def test_every_language_that_needs_a_package_has_an_extra() -> None:
    extras = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(PACKAGES) <= set(extras)


def test_a_language_that_spacy_does_not_know_is_named() -> None:
    with pytest.raises(ImportError, match="--lang xyz is not a language that spaCy can cut"):
        make_tokenizer(TokenizerSettings(lang="xyz"))


@pytest.fixture
def thai_by_threes(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SpacyTokenizer]:
    """Return a function that makes a Thai tokenizer of a stand-in for PyThaiNLP: it cuts after three characters."""
    package, module = ModuleType("pythainlp"), ModuleType("pythainlp.tokenize")
    module.word_tokenize = lambda text: [text[start : start + 3] for start in range(0, len(text), 3)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pythainlp", package)
    monkeypatch.setitem(sys.modules, "pythainlp.tokenize", module)

    def make(version: str) -> SpacyTokenizer:
        monkeypatch.setattr("importlib.metadata.version", {"spacy": "3", "pythainlp": version}.__getitem__)
        return SpacyTokenizer(TokenizerSettings(lang="th"))

    return make


def test_what_lies_between_special_tokens_goes_to_the_languages_own_tokenizer(
    thai_by_threes: Callable[[str], SpacyTokenizer],
) -> None:
    tokenizer = thai_by_threes("5.0")
    assert tokenizer("\u0e01\u0e02\u0e03\u0e04\u0e05 NATO \u0e01\u0e02") == (
        ["\u0e01\u0e02\u0e03", "\u0e04\u0e05", "xxup", "nat", "o\u2581\u0e01", "\u0e02"]
    )


def test_the_version_of_a_dictionarys_package_is_recorded_and_part_of_the_fingerprint(
    thai_by_threes: Callable[[str], SpacyTokenizer],
) -> None:
    older, newer, again = map(thai_by_threes, ("5.0", "5.1", "5.0"))
    assert older.to_json()["versions"] == {"spacy": "3", "pythainlp": "5.0"}
    assert older.fingerprint == again.fingerprint != newer.fingerprint


def test_a_long_japanese_text_is_cut_after_sentences_and_lines_where_it_has_them() -> None:
    sentence = "\u79c1\u306f\u6771\u4eac\u3002"
    text = sentence * 2000 + "\u3042" * 10_000
    found = pieces(text, "ja")
    assert "".join(found) == text
    assert max(map(len, found)) <= MAX_STRETCH
    assert [piece[-1] for piece in found[:2]] == ["\u3002", "\u3002"]
    assert pieces(sentence * 2, "ja") == [sentence * 2]


def test_a_korean_text_goes_on_behind_a_character_that_ends_mecabs_text() -> None:
    assert pieces("\uc548\ub155\0\uc138\uacc4\0", "ko") == ["\uc548\ub155", "\uc138\uacc4"]


@pytest.mark.slow
def test_title_and_text_of_the_sample_corpus_have_the_published_number_of_tokens(tokenizer: SpacyTokenizer) -> None:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    assert sum(len(document_tokens(tokenizer, [row["title"], row["text"]])) for row in documents) == 1_465_813
