"""The rules of fastai 1 and 0.7 give the tokens of these versions, read from files that they wrote."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ulmfit_ray.text import earlier_rules
from ulmfit_ray.text.tokenizers.kinds import Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import document_tokens

GOLDEN = Path(__file__).parents[1] / "golden"
OUR_NAMES = {"t_up": "xxup", "tk_rep": "xxrep", "tk_wrep": "xxwrep"}
FILES = {"fastai-v1": "fastai_v1_tokens.json", "fastai-0.7": "fastai_07_tokens.json"}


@pytest.fixture(scope="module", params=FILES)
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rows(preset: str) -> list[tuple[str, list[str]]]:
    """Return texts with their tokens by our names; a space inside a token is visible, as fastai 2 has it."""
    names = OUR_NAMES if preset == "fastai-0.7" else {}
    rows = json.loads((GOLDEN / FILES[preset]).read_text())
    return [(row["text"], [names.get(token, token).replace(" ", "\u2581") for token in row["tokens"]]) for row in rows]


@pytest.fixture(scope="module")
def earlier(preset: str) -> Tokenizer:
    return make_tokenizer(TokenizerSettings(rules=(preset,)))


def test_tokens_are_those_of_the_earlier_fastai_one_for_one(
    earlier: Tokenizer, rows: list[tuple[str, list[str]]]
) -> None:
    assert len(rows) >= 130
    assert [(text, tokens) for text, tokens in rows if earlier(text) != tokens] == []


def test_all_texts_at_once_give_the_tokens_of_the_earlier_fastai(
    earlier: Tokenizer, rows: list[tuple[str, list[str]]]
) -> None:
    found = earlier.tokenize([text for text, _ in rows])
    tokens = [[found.types[number] for number in found.ids[start:end]] for start, end in pairwise(found.bounds)]
    assert tokens == [tokens for _, tokens in rows]
    assert len(set(found.types)) == len(found.types)
    assert [found.types[number] for number in dict.fromkeys(found.ids.tolist())] == found.types


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("fix_html_v1", "a amp; b  <unk> @,@ c @.@ d\\n e\\f ...", "a & b xxunk,c.d\n e \\ f ..."),
        ("fixup", "a amp; b  <unk> @,@ c @.@ d", "a & b u_n @,@ c.d"),
        ("replace_rep_v1", "cccc ddd", " xxrep 4 c  ddd"),
        ("replace_wrep_v1", "no no no no yes yes yes yes", " xxwrep 4 no  yes yes yes yes"),
        ("spec_add_spaces_v1", "a/b#c\nd\\e", "a / b # c \n d\\e"),
        ("spec_add_spaces_v07", "a/b#c\nd", "a / b # c\nd"),
        ("do_caps", "NATO Paris USA-wide EU (ABC)", " xxup nato paris  xxup usa-wide eu ( xxup abc)"),
        ("sub_br", "a<br>b< BR />c<br / >d", "a\nb\nc<br / >d"),
        ("strip_front", "   a \n", "a \n"),
        ("strip_front", "\n a", "\n a"),
    ],
)
def test_each_rule_for_texts_does_what_reference_tables_say(rule: str, text: str, expected: str) -> None:
    assert getattr(earlier_rules, rule)(text) == expected


@pytest.mark.parametrize(
    ("token", "in_capitals", "capitalized"),
    [
        ("NATO", ("xxup", "nato"), ("nato",)),
        ("\u00dcBER", ("xxup", "\u00fcber"), ("\u00fcber",)),
        ("A", ("A",), ("a",)),
        ("Paris", ("Paris",), ("xxmaj", "paris")),
        ("\u00c9cole", ("\u00c9cole",), ("xxmaj", "\u00e9cole")),
        ("iPhone", ("iPhone",), ("iphone",)),
        ("3D", ("xxup", "3d"), ("3d",)),
    ],
)
def test_each_rule_for_tokens_marks_capitals_of_every_alphabet(
    token: str, in_capitals: tuple[str, ...], capitalized: tuple[str, ...]
) -> None:
    assert earlier_rules.replace_all_caps_v1(token) == in_capitals
    assert earlier_rules.deal_caps(token) == capitalized


def test_a_document_by_rules_of_0_7_begins_with_our_names_of_its_marks() -> None:
    marking = make_tokenizer(TokenizerSettings(rules=("fastai-0.7",), mark_fields=True))
    expected = ["xxbos", "xxfld", "1", "a", "xxup", "nato", "xxfld", "2", "b"]
    assert document_tokens(marking, [" A NATO", "B"]) == expected
