"""A tokenizer is made by its kind, and rebuilt from its description only where it would cut every text alike."""

import json
import subprocess
import sys

import pytest

from ulmfit_ray.text.tokenizers.kinds import (
    KINDS,
    WITH_MODEL,
    Tokenizer,
    TokenizerSettings,
    load_tokenizer,
    make_tokenizer,
)
from ulmfit_ray.text.types import document_tokens


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_MODEL])
def test_every_kind_describes_itself_by_its_name_and_settings(kind: str) -> None:
    settings = TokenizerSettings(kind=kind, mark_fields=True, eos="line")
    made = make_tokenizer(settings)
    description = made.to_json()
    assert made.settings == settings
    assert description["kind"] == kind
    assert description["fingerprint"] == made.fingerprint
    assert description["versions"]
    assert TokenizerSettings.from_json(json.loads(json.dumps(description))) == settings


def test_an_unknown_kind_is_refused_beside_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"'scissors' is not known to this version of ulmfit-ray \(spacy, "):
        make_tokenizer(TokenizerSettings(kind="scissors"))


def test_a_description_rebuilds_the_same_tokenizer() -> None:
    first = make_tokenizer(TokenizerSettings(mark_fields=True))
    second = load_tokenizer(json.loads(json.dumps(first.to_json())))
    assert (second.settings, second.fingerprint) == (first.settings, first.fingerprint)
    assert document_tokens(second, ["One", "TWO"]) == document_tokens(first, ["One", "TWO"])


def test_a_description_with_another_fingerprint_is_refused_with_the_version_to_install(tokenizer: Tokenizer) -> None:
    description = tokenizer.to_json() | {"fingerprint": "0" * 64, "versions": {"spacy": "3.0"}}
    ours = f"{tokenizer.fingerprint[:12]}, spacy {tokenizer.to_json()['versions']['spacy']}"
    with pytest.raises(
        ValueError, match=r"cuts text otherwise than the recorded one \(000000000000, spacy 3\.0\): install spacy 3\.0$"
    ) as error:
        load_tokenizer(description)
    assert str(error.value).startswith(f"this machine's tokenizer ({ours})")


def test_a_description_of_an_unknown_kind_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="'scissors' is not known"):
        load_tokenizer(tokenizer.to_json() | {"kind": "scissors"})


def test_versions_are_recorded_but_not_part_of_the_fingerprint(tokenizer: Tokenizer) -> None:
    loaded = load_tokenizer(tokenizer.to_json() | {"versions": {"spacy": "0.0"}})
    assert loaded.fingerprint == tokenizer.fingerprint


def test_a_kinds_own_module_is_imported_only_when_it_is_asked_for() -> None:
    program = "import sys, ulmfit_ray.text.tokenizers.kinds; assert 'spacy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
