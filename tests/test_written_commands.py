"""Every command that the pages and the recipes' comments tell a person to type is one that its verb takes."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from ulmfit_ray.cli import IN_TWO_WORDS, OF_A_VERB, VERBS, _named
from ulmfit_ray.config import joined, parse_config, part
from ulmfit_ray.pipelines.cluster.command import entrypoint

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "jobs/configs").glob("*/*.toml"))
PAGES = [ROOT / "README.md", ROOT / "cluster/README.md", *RECIPES, *sorted((ROOT / "cluster/kuberay").glob("*.toml"))]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each line that begins with `ulmfit-ray`, with the lines that a backslash joins to it."""
    joined = re.sub(r"\\\n(#| )*", "", text)
    for line in joined.splitlines():
        found = re.match(r"(?:# |\$ )?(ulmfit-ray [a-z].*)", line)
        if found:
            yield list(takewhile(lambda word: word != "|", shlex.split(found[1], comments=True)))


def written() -> list[list[str]]:
    """Return the commands of all pages but those that leave something out (...) or stand for any verb (VERB)."""
    found = [words for path in PAGES for words in commands(path.read_text(encoding="utf-8"))]
    return [words for words in found if "..." not in words and "VERB" not in words]


def test_commands_are_found_with_the_lines_that_continue_them() -> None:
    text = "text\n$ ulmfit-ray a b   # why\n# ulmfit-ray sweep a \\\n#     --b 'c d'\nulmfit-ray is ours:\n"
    assert list(commands(text)) == [
        *(["ulmfit-ray", "a", "b"], ["ulmfit-ray", "sweep", "a", "--b", "c d"], ["ulmfit-ray", "is", "ours:"])
    ]


@pytest.mark.parametrize("words", written(), ids=" ".join)
def test_a_written_command_is_taken(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    outer, words = (words[1], words[1:]) if words[1] in OF_A_VERB else (None, words)
    count = 2 if words[1] in IN_TWO_WORDS else 1
    name, arguments = " ".join(words[1 : 1 + count]), words[1 + count :]
    config_class = _named(VERBS[name].config)
    asked = joined(_named(OF_A_VERB[outer].config), config_class) if outer else config_class
    config = part(parse_config(asked, arguments, f"ulmfit-ray {name}"), config_class)
    if hasattr(config, "ray"):
        # Where the job is sent to is not said to the job.
        config = replace(config, ray=replace(config.ray, address=None))
    # And what `submit` makes of it is the same on the cluster.
    submitted = shlex.split(entrypoint(name, config))
    assert submitted[: 3 + count] == ["python", "-m", "ulmfit_ray.cli", *words[1 : 1 + count]]
    assert parse_config(config_class, submitted[3 + count :], f"ulmfit-ray {name}") == config


def test_every_recipe_but_the_quickstarts_stands_in_a_command() -> None:
    named = {words[2 if words[1] not in IN_TWO_WORDS else 3] for words in written()}
    recipes = {str(path.relative_to(ROOT)) for path in RECIPES if path.parent.name != "quickstart"}
    assert recipes <= named
