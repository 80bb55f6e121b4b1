"""The cleaning rules of fastai 1 and 0.7, for models of their time (fastai 1.0.61 and 0.7.0, read and compared).

A rule whose name fastai 2 has too, for something else, ends in `_v1` or `_v07`. Three things are not as they were:

- fastai 0.7's own tokens have our names, which mean the same: `t_up` is xxup, `tk_rep` xxrep, `tk_wrep` xxwrep, `xbos`
  xxbos and `xfld` xxfld. Its vocabulary's `_unk_` and `_pad_` are xxunk and xxpad. It writes `u_n` for "<unk>" in a
  text: a word like any other, here too.
- Both set a mark in front of a text before their rules run. Here marks are put there later; `strip_front` takes away
  the spaces that the mark would have taken. What would reach across that border (" @.@ " at the very front) does not.
- fastai 0.7 begins a document with a line end, and numbers the second field 1 again. Neither is done here.
"""

import re

from ulmfit_ray.text.rules import HTML_REPLACEMENTS, MAJ, REP, UNK, UP, WREP, unescaped

_HTML = HTML_REPLACEMENTS[:9]
"""What all of fastai's rules replace, up to the quotes."""
REPLACEMENTS = {
    "fix_html_v1": (*_HTML, ("<unk>", UNK), (" @.@ ", "."), (" @-@ ", "-"), (" @,@ ", ","), ("\\", " \\ ")),
    "fixup": (*_HTML, ("<unk>", "u_n"), (" @.@ ", "."), (" @-@ ", "-"), ("\\", " \\ ")),
}
PATTERNS = {
    "replace_rep_v1": re.compile(r"(\S)(\1{3,})"),
    "replace_wrep_v1": re.compile(r"(\b\w+\W+)(\1{3,})"),
    "spec_add_spaces_v1": re.compile(r"([/#\n])"),
    "spec_add_spaces_v07": re.compile(r"([/#])"),
    "do_caps": re.compile(r"\w+|\W+"),
    "sub_br": re.compile(r"<\s*br\s*/?>", re.IGNORECASE),
}
SPACES = re.compile(" {2,}")
KEPT_WHOLE = ("<eos>", "<bos>", "<unk>")
"""Words that fastai 0.7 tells spaCy not to cut."""


def fix_html_v1(text: str) -> str:
    """Undo the escapes that scraped text is full of, set backslashes apart, squeeze spaces."""
    return _replaced(text, "fix_html_v1")


def fixup(text: str) -> str:
    """Do what `fix_html_v1` does, but leave " @,@ " and write u_n for "<unk>"."""
    return _replaced(text, "fixup")


def _replaced(text: str, rule: str) -> str:
    for old, new in REPLACEMENTS[rule]:
        text = text.replace(old, new)
    return SPACES.sub(" ", unescaped(text))


def replace_rep_v1(text: str) -> str:
    """Mark a character repeated four times or more: "cccc" -> " xxrep 4 c "."""
    return PATTERNS["replace_rep_v1"].sub(lambda m: f" {REP} {len(m[2]) + 1} {m[1]} ", text)


def replace_wrep_v1(text: str) -> str:
    """Mark a word with what stands behind it, repeated four times or more: "no! no! no! no! " -> " xxwrep 4 no!  "."""
    return PATTERNS["replace_wrep_v1"].sub(lambda m: f" {WREP} {len(m[2].split()) + 1} {m[1]} ", text)


def spec_add_spaces_v1(text: str) -> str:
    """Set each slash, hash and line end apart."""
    return PATTERNS["spec_add_spaces_v1"].sub(r" \1 ", text)


def spec_add_spaces_v07(text: str) -> str:
    """Set each slash and hash apart."""
    return PATTERNS["spec_add_spaces_v07"].sub(r" \1 ", text)


def do_caps(text: str) -> str:
    """Lower everything and mark words of three capitals or more: "A NATO" -> "a  xxup nato"."""
    return PATTERNS["do_caps"].sub(
        lambda m: f" {UP} {m[0].lower()}" if m[0].isupper() and len(m[0]) > 2 else m[0].lower(), text
    )


def sub_br(text: str) -> str:
    """Make line ends of <br>."""
    return PATTERNS["sub_br"].sub("\n", text)


def strip_front(text: str) -> str:
    """Take away spaces in front."""
    return text.lstrip(" ")


def replace_all_caps_v1(token: str) -> tuple[str, ...]:
    """Mark and lower a token in capitals, of whatever alphabet: "NATO" -> xxup, nato."""
    return (UP, token.lower()) if token.isupper() and len(token) > 1 else (token,)


def deal_caps(token: str) -> tuple[str, ...]:
    """Lower a token, and mark it if it is capitalized: "Paris" -> xxmaj, paris."""
    is_capitalized = len(token) > 1 and token[0].isupper() and token[1:].islower()
    return (MAJ, token.lower()) if is_capitalized else (token.lower(),)
