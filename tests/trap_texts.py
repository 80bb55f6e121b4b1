"""Random texts made of what tokenizers stumble over."""

import random
import sys
from collections.abc import Iterator, Sequence

SPACES = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
WORDS = """
word, (word) "word" word. (word, word] [word word? "word!' 'word' eff. (eff. goin' (goin' abc: :abc
abc; .abc abc.) ((abc ma'am
no No NO no! no, (no a A I the 3 33 333 3.5 1234444 x2 C# C++ don't DON'T 's he's o'clock '' ' " `` a.m. 10a.m. e.g.
i.e., U.S.A. z. :) :( :O((( 2) :-) : ) ( - )-: <3 < </3 >.< ^_^ = D :D 8) / # \\ /path\\to and/or w/o .... ... ..
!!! ??? aaaa zzz nooooo -- \u2014 http://a.b/c?d=e www.example.com me@example.org 1/2 $5 5km 10% a-b day-Nov.
ex-Mrs. xxbos xxmaj XXUP xxrep xxwrep xxunk <unk> @.@ @-@ @,@ &amp; &lt;br <br/> #39; quot; nbsp; &nbsp; &#133; &#0;
&#xD800; &copy \\" \\n amp;#39; \u00c9cole \u00c9COLE \u00df Stra\u00dfe \u0130stanbul \u039f\u0394\u039f\u03a3
\u03a3 na\u00efve e\u0301 \u0301 \u043c\u0438\u0440 \u041c\u0438\u0440 \u041c\u0418\u0420 i\u0307
\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d \u3042\u308a \ud55c\uad6d\uc5b4 \U0001f600
\U0001f600\U0001f600\U0001f600 \U0001f469\u200d\U0001f467 \u200b \ufeff \0 \u2581 l'homme aujourd'hui z.B. d.h.
\u2019s \u2026 _ __ ___ a_b \u00b2 \u00bd
""".split()  # noqa: SIM905
ACROSS_SPACES = (" @.@ ", " @-@ ", "<br />", "<br /><br />", "word word word")


def trap_texts(number: int, seed: int, more: Sequence[str] = ()) -> Iterator[str]:
    """Yield texts of up to 30 words of WORDS and `more`, or pieces of them, with all kinds of whitespace between."""
    draw = random.Random(seed)
    for _ in range(number):
        words = [*draw.sample(WORDS, draw.randint(1, 8)), draw.choice(ACROSS_SPACES)]
        words += draw.sample(more, min(len(more), draw.randint(0, 8)))
        parts = []
        for _ in range(draw.randint(0, 30)):
            word = draw.choice(words)
            if draw.random() < 0.1:
                word = word[: draw.randint(0, len(word))]
            parts.append(word)
            kind = draw.random()
            if kind < 0.7:
                parts.append(" ")
            elif kind < 0.9:
                parts.append("".join(draw.choices([" ", "\n", "\n", *draw.sample(SPACES, 2)], k=draw.randint(1, 4))))
        yield "".join(parts)
