"""The cleaning rules of fastai 2, which are applied to text before ULMFiT's language models read it.

They are the eight rules of fastai 2.8.12 (`fastai/text/core.py`), in the same order and with the same result to the
character, because models trained on text cleaned in this way need it. A rule is a function from text to text; its
patterns are constants, so that the tokenizer's fingerprint can cover them. presets.py knows all rules by name.
"""

import html
import re
from collections.abc import Callable

UNK, PAD, BOS, EOS, FLD, REP, WREP, UP, MAJ = (
    "xxunk",
    "xxpad",
    "xxbos",
    "xxeos",
    "xxfld",
    "xxrep",
    "xxwrep",
    "xxup",
    "xxmaj",
)
SPECIAL_TOKENS = (UNK, PAD, BOS, EOS, FLD, REP, WREP, UP, MAJ)
"""fastai v2's order: a vocabulary begins with these nine, so their ids are 0 to 8."""

HTML_REPLACEMENTS = (
    ("#39;", "'"),
    ("amp;", "&"),
    ("#146;", "'"),
    ("nbsp;", " "),
    ("#36;", "$"),
    ("\\n", "\n"),
    ("quot;", "'"),
    ("<br />", "\n"),
    ('\\"', '"'),
    ("<unk>", UNK),
    (" @.@ ", "."),
    (" @-@ ", "-"),
    ("...", " \N{HORIZONTAL ELLIPSIS}"),
)
HTML_MARKS = {old: next((mark for mark in ";\\<@" if mark in old), old) for old, _ in HTML_REPLACEMENTS}
PATTERNS = {
    "replace_rep": re.compile(r"(\S)(\1{2,})"),
    "replace_wrep": re.compile(r"(?:\s|^)(\w+)\s+((?:\1\s+)+)\1(\s|\W|$)"),
    "spec_add_spaces": re.compile(r"([/#\\])"),
    "rm_useless_spaces": re.compile(r" {2,}"),
    "replace_all_caps": re.compile(r"(\s|^)([A-Z]+[^a-z\s]*)(?=(\s|$))"),
    "replace_maj": re.compile(r"(\s|^)([A-Z][^A-Z\s]*)(?=(\s|$))"),
}
"""fastai's own, which the fingerprint covers."""
CAPITALS = re.compile(r"(\s|^)([A-Z][^a-z\s]*)(?=(\s|$))")
"""Finds what `replace_all_caps` finds, but a word of 20,000 capitals and a small letter takes it no 3 seconds: fastai's
pattern tries each border between its two sets, of which one holds the other."""
MAX_DIGITS = 4300
"""Python makes no number of more decimal digits."""
LONG_REFERENCE = re.compile(f"&#([0-9]{{{MAX_DIGITS + 1},}})")


def fix_html(text: str) -> str:
    """Undo the escapes that scraped text is full of; "..." becomes one ellipsis character."""
    for old, new in HTML_REPLACEMENTS:
        # Most texts lack the character that is quick to look for, and with it the pattern.
        if HTML_MARKS[old] in text:
            text = text.replace(old, new)
    return unescaped(text)


def unescaped(text: str) -> str:
    """Return what `html.unescape` returns, also of a reference whose number Python refuses to read ("&#999...;")."""
    return html.unescape(LONG_REFERENCE.sub(_shorter, text) if len(text) > MAX_DIGITS else text)


def _shorter(reference: re.Match[str]) -> str:
    """Return a reference of few digits to the same character; all numbers of eight digits or more are of none."""
    return f"&#{reference[1].lstrip('0')[:8] or '0'}"


def replace_rep(text: str) -> str:
    """Mark a character repeated three times or more: "cccc" -> " xxrep 4 c "."""
    return PATTERNS["replace_rep"].sub(lambda m: f" {REP} {len(m[2]) + 1} {m[1]} ", text)


def replace_wrep(text: str) -> str:
    """Mark a word repeated three times or more: "no no no" -> " xxwrep 3 no "."""
    return PATTERNS["replace_wrep"].sub(lambda m: f" {WREP} {len(m[2].split()) + 2} {m[1]} {m[3]}", text)


def spec_add_spaces(text: str) -> str:
    """Set each slash, hash and backslash apart."""
    return PATTERNS["spec_add_spaces"].sub(r" \1 ", text)


def rm_useless_spaces(text: str) -> str:
    """Squeeze runs of spaces into one."""
    # Most texts have no run, and to look for one takes a quarter of the time.
    return PATTERNS["rm_useless_spaces"].sub(" ", text) if "  " in text else text


def replace_all_caps(text: str) -> str:
    """Lower words in capitals and mark them: "NATO" -> "xxup nato"; a single letter gets no mark.

    Only ASCII capitals count, as in fastai: "ECOLE" with an accent on its first letter stays unmarked.
    """
    return CAPITALS.sub(lambda m: f"{m[1]}{UP + ' ' if len(m[2]) > 1 else ''}{m[2].lower()}", text)


def replace_maj(text: str) -> str:
    """Lower capitalized words and mark them: "Paris" -> "xxmaj paris"; a single letter gets no mark."""
    return PATTERNS["replace_maj"].sub(lambda m: f"{m[1]}{MAJ + ' ' if len(m[2]) > 1 else ''}{m[2].lower()}", text)


def lowercase(text: str) -> str:
    """Lower what is left and strip; xxbos is put in front of the document by the tokenizer, not here."""
    return text.lower().strip()


FASTAI_V2: tuple[Callable[[str], str], ...] = (
    fix_html,
    replace_rep,
    replace_wrep,
    spec_add_spaces,
    rm_useless_spaces,
    replace_all_caps,
    replace_maj,
    lowercase,
)
WORD_RULES = (spec_add_spaces, rm_useless_spaces, replace_all_caps, replace_maj)
"""The rules after `replace_wrep` that look at one word at a time, as `replace_rep` does and lowering."""


def clean_words(text: str) -> str:
    """Run what comes after `replace_wrep` over words in lines, each between line ends; spaces at their ends stay."""
    for rule in WORD_RULES:
        text = rule(text)
    return text.lower()
