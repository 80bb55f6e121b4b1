"""How many bytes of text tokens stand for: what a model's bits are divided by, to compare it with one of other tokens.

The measure must not depend on the tokenizer. So it is not taken from the tokens, but from the cleaned text: what the
cleaning rules leave of a field before they write marks and spaces into it. "Paris" has five bytes, not the twelve of
"xxmaj paris". Tokenizers with the same rules, of whatever kind and with whatever vocabulary, count the same bytes;
without rules they are those of the text itself. The end of a field counts one byte, as the line end in a file of lines
does: it is predicted, too (xxbos or a field's mark comes next).
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.text.decode import VISIBLE_SPACE
from ulmfit_ray.text.presets import clean, rule_names

WRITES_NOTHING = frozenset(
    ("fix_html", "fix_html_v1", "fixup", "sub_br", "rm_useless_spaces", "strip_front", "lowercase")
)
"""Rules after which a text is still a text; all others write marks or spaces into it."""


def text_bytes(fields: Iterable[str], rules: tuple[str, ...]) -> int:
    """Return how many bytes of UTF-8 fields have when they are cleaned, with one more for the end of each.

    Raises:
        UnicodeEncodeError: a field holds half a surrogate pair.
    """
    cleaning = tuple(name for name in rule_names(rules) if name in WRITES_NOTHING)
    return sum(len(clean(text, cleaning).encode()) + 1 for text in fields)


def word_bytes(tokens: pa.Array) -> np.ndarray:
    """Return how many bytes of text each token stands for, int64 (N,); of words and pieces, not of marks."""
    # A space is one byte of text, and three where pieces and characters show it.
    sizes = pc.binary_length(pc.replace_substring(tokens, VISIBLE_SPACE, " "))
    return sizes.to_numpy(zero_copy_only=False).astype(np.int64)
