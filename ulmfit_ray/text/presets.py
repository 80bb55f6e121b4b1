"""All cleaning rules by name, and the presets: the rules that go together.

A rule changes a whole text before it is cut (TEXT_RULES) or one token after that (TOKEN_RULES). Rules are given as the
name of one preset or as names of rules, in the order in which they run; those for tokens run after those for texts.
"""

import difflib
import functools
import hashlib
import json
from collections.abc import Callable, Sequence

from ulmfit_ray.text import earlier_rules, rules
from ulmfit_ray.text.rules import SPECIAL_TOKENS

TEXT_RULES: dict[str, Callable[[str], str]] = {
    rule.__name__: rule
    for rule in (
        *rules.FASTAI_V2,
        earlier_rules.fix_html_v1,
        earlier_rules.fixup,
        earlier_rules.replace_rep_v1,
        earlier_rules.replace_wrep_v1,
        earlier_rules.spec_add_spaces_v1,
        earlier_rules.spec_add_spaces_v07,
        earlier_rules.do_caps,
        earlier_rules.sub_br,
        earlier_rules.strip_front,
    )
}
TOKEN_RULES: dict[str, Callable[[str], tuple[str, ...]]] = {
    rule.__name__: rule for rule in (earlier_rules.replace_all_caps_v1, earlier_rules.deal_caps)
}
PRESETS: dict[str, tuple[str, ...]] = {
    "fastai-v2": tuple(rule.__name__ for rule in rules.FASTAI_V2),
    "fastai-v1": (
        *("fix_html_v1", "replace_rep_v1", "replace_wrep_v1", "spec_add_spaces_v1", "rm_useless_spaces"),
        *("strip_front", "replace_all_caps_v1", "deal_caps"),
    ),
    "fastai-0.7": (
        *("fixup", "replace_rep_v1", "replace_wrep_v1", "do_caps", "spec_add_spaces_v07", "rm_useless_spaces"),
        *("sub_br", "strip_front"),
    ),
    "none": (),
}
FASTAI_V2, FASTAI_07, NONE = ("fastai-v2",), ("fastai-0.7",), ("none",)


def rule_names(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the rules that a preset, or a list of rules, stands for.

    Raises:
        ValueError: a name is not known, or a preset is not alone; the message names what may be meant.
    """
    known = [*PRESETS, *TEXT_RULES, *TOKEN_RULES]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise ValueError(f"there is no rule {name!r}; {hint}")
        if name in PRESETS and len(given) > 1:
            raise ValueError(f"{name} is a preset, and stands for all its rules: name it alone")
    return PRESETS[given[0]] if given and given[0] in PRESETS else tuple(given)


@functools.lru_cache
def _text_rules(given: tuple[str, ...]) -> list[Callable[[str], str]]:
    return [TEXT_RULES[name] for name in rule_names(given) if name in TEXT_RULES]


@functools.lru_cache
def token_rules(given: tuple[str, ...]) -> list[Callable[[str], tuple[str, ...]]]:
    """Return the rules that run on tokens, in order."""
    return [TOKEN_RULES[name] for name in rule_names(given) if name in TOKEN_RULES]


def clean(text: str, given: tuple[str, ...]) -> str:
    """Run the rules for texts over one text."""
    for rule in _text_rules(given):
        text = rule(text)
    return text


def clean_tokens(tokens: Sequence[str], given: tuple[str, ...]) -> list[str]:
    """Run the rules for tokens over the tokens of a text; each looks at one token."""
    for rule in token_rules(given):
        tokens = [result for token in tokens for result in rule(token)]
    return list(tokens)


def words_kept_whole(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words that spaCy must not cut."""
    return (*SPECIAL_TOKENS, *(earlier_rules.KEPT_WHOLE if "fixup" in rule_names(given) else ()))


def rules_fingerprint(given: tuple[str, ...]) -> str:
    """SHA-256 of what rules look for, in order; changes when a text could be cleaned otherwise."""
    names = rule_names(given)
    known = rules.PATTERNS | earlier_rules.PATTERNS
    patterns = {name: known[name].pattern for name in names if name in known}
    replacements = {name: table for name, table in earlier_rules.REPLACEMENTS.items() if name in names}
    parts = [names, patterns, rules.HTML_REPLACEMENTS, *([replacements] if replacements else [])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
