"""Write fastai_tokens.json: what fastai itself makes of each text; our tokenizer must give the same, one for one.

    /path/to/fastai-environment/bin/python tests/golden/make_fastai_tokens.py

Runs in fastai's own environment, not in ours: torch==2.13.0, torchvision==0.28.0, fastai==2.8.12, spacy==3.8.18.
The tokens are those of `TokenizeWithRules`, through which `Tokenizer` cuts every data set. On one text given to it
directly, `Tokenizer(SpacyTokenizer("en"))` leaves out the last rule (spaces inside a token become "\\u2581"); that
the two agree otherwise is checked here.
"""

import gzip
import json
from pathlib import Path

from fastai.text.core import SpacyTokenizer, Tokenizer, TokenizeWithRules

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_SENTENCES = 20

REFERENCE = [
    "cccc",
    "ccc",
    "cc",
    "a!!!!!b",
    "word word word word",
    "word word word",
    "word word",
    "The The The",
    "WORD WORD WORD WORD",
    "C++ and C# /path\\to",
    "HELLO World A b CD eF Gh3 U.S.A. iPhone MacBook",
    "<unk> 3 @.@ 5 @-@ 6 @,@ 7 ... x",
    "1234444 0000",
    "\N{GRINNING FACE}" * 4,
    "Wooooow!!! SO GOOD...",
    "no no no, no no no no.",
    "xxbos XXUP",
    "\u00dcBER \u00dcber \u00c9COLE \u00c9cole \u00df",
]
HARD = [
    "",
    " ",
    "    ",
    "\n",
    "\n \n",
    "\n\n\n",
    "\t",
    "one\ttwo\t\tthree",
    "one\r\ntwo\r\n\r\nthree\r\n",
    "one\rtwo",
    "line one\nline two\n\nline three \n line four",
    "trailing newline\n",
    "  leading and trailing  ",
    "form\x0cfeed vertical\x0btab",
    "no\u00a0break, thin\u2009space, ideographic\u3000space, zero\u200bwidth, line\u2028separator",
    "\ufeffbyte order mark",
    "soft\u00adhyphen",
    "Tom &amp; Jerry &lt;b&gt;bold&lt;/b&gt; &quot;quoted&quot; &#39;single&#39; &nbsp; end",
    "&copy; &eacute; &#8217; &#x2014; &hellip; &notanentity; &#0; &#128512; AT&T",
    "&amp;amp; &amp;lt; amp;amp; #39;s #146;s #36;5 nbsp;x quot;y quot;",
    "a<br />b<br/>c<br>d <unk> <UNK>",
    'escaped \\n newline and \\" quote and \\t tab \\\\ backslash',
    "http://www.example.com/a/b?c=d&e=f#top https://x.org ftp://y.net/~z www.test.co.uk me@mail.example.com",
    "C:\\Windows\\System32 and /usr/local/bin and #hashtag ## and/or",
    ":O(((",
    "2) :O(((",
    ":) :-) ;) :D :-D :P xD <3 ^_^ o.O ._. (: =) :'( ):",
    "(;_;) \u00af\\_(\u30c4)_/\u00af (\u256f\u00b0\u25a1\u00b0)\u256f\ufe35\u253b\u2501\u253b",
    "don't can't won't I'm you're he'll they'd we've it's let's y'all ain't cannot gonna gotta",
    "Don't CAN'T Won't I'M IT'S It's O'Neil D'Artagnan rock 'n' roll '90s",
    "don\u2019t it\u2019s \u201cquoted\u201d \u2018single\u2019 \u2014 \u2013 \u2026 ....",
    "back'' ''Return",
    "``quoted'' \"double\" 'single' \u00abguillemets\u00bb \u201elow\u201c",
    "10km 5.5kg 20% $30 \u20ac40 \u00a350 3,000.50 1e-5 2x 4GB 100\u00b0C 5\u00b5m 10-20 1/2 \u00bd 2\u00b2",
    "U.S.A. U.K. e.g. i.e. etc. Mr. Mrs. Dr. Ph.D. a.m. p.m. No. 5 Inc. vs.",
    "A. B. C. end.Start of a sentence.Another",
    "well-known state-of-the-art mother-in-law -dash- --double-- a--b",
    "(parenthesis) [bracket] {brace} <angle> (nested (twice)) a)b(c",
    "Hello,world;this:is!a?test",
    "wait... what....really..... yes..",
    "!!! ??? ?!?!?! ,,, --- *** === ~~~ ___ ...",
    "aaa bbb ccc aaaab bbbba",
    "ha ha ha ha ha haha hahaha hahahahaha",
    "the the the cat the the the",
    "No no NO no no no",
    "word  word   word    word",
    "word\nword\nword\nword",
    "very, very, very good; very very very, good",
    " ".join(["again"] * 60),
    "x" * 300,
    "1 1 1 1 2 2 2",
    "xxbos xxeos xxfld xxrep xxwrep xxup xxmaj xxunk xxpad xxfake",
    "xxbosxxbos xxrep3 Xxmaj XXBOS. (xxunk) xxunk's xxmaj, xxup!",
    "NASA's USA-based X-ray A1 B2B MP3 COVID-19 HIV/AIDS I II III",
    "I am A b C D. ABC DEF aBC ABc A-b AB-c Ab-Cd",
    "McDonald's MacBook iPhone eBay YouTube LaTeX PhD",
    "\u00c5NGSTR\u00d6M \u00c5ngstr\u00f6m na\u00efve caf\u00e9 \u00d1and\u00fa ",
    "\u0130stanbul I\u0307 \u1e9e STRASSE stra\u00dfe",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u041c\u0418\u0420",
    "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u03a3\u03a3\u03a3\u03a3",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u5929\u6c14\u5f88\u597d\u597d\u597d\u597d",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u30ab\u30bf\u30ab\u30ca",
    "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u05e9\u05dc\u05d5\u05dd",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "cafe\u0301 e\u0301e\u0301e\u0301 Z\u0351\u0343a\u0308l\u0310g\u0334o a\u0300\u0300\u0300\u0300",
    "\N{THUMBS UP SIGN}\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "great\N{PARTY POPPER}\N{PARTY POPPER}\N{PARTY POPPER} \u2764\ufe0f",
    "math: \u2211\u2202x\u00b2 \u2265 \u03b1\u00b7\u03b2 \u2192 \U0001d4d0",
    "p<0.05 n=12 +/-0.24 (p = 0.016) IL-10, TGF-\u03b2",
    "ligature \ufb01ne \ufb02ow \u01c4 \u216b \uff21\uff22\uff23 \uff10\uff11",
    "null \x00 bell \x07 escape \x1b[0m delete \x7f",
    "back\u2581slash lower \u2581 block \n\u2581",
    "tags <b>bold</b> <a href='x.html'>link</a> <!-- comment --> &unknown; & &;",
    "price:$5.00/lb (~\u20ac4) #1 @user RT @a: #b",
    "12:30pm 2024-01-31 31/12/1999 1990s 1st 2nd 3rd 4TH +1-800-555-0199",
    "def f(x): return x**2 # squared; if a!=b&&c==d||e: i++",
    "a , b . c ; d ( e ) f @,@ g @.@ h @-@ i",
    "supercalifragilisticexpialidocious" * 4,
    "end of sentence.\" Next 'one.' (Done.) [1] [2,3] *4",
    "A A A A a a a",
    "UPPER UPPER UPPER lower",
    "...... x......y \u2026\u2026\u2026",
    "   many     spaces      inside ",
    "\n \n word \n  \n word\t \tword",
]


def sample_sentences() -> list[str]:
    """Return title and first sentence of the first documents of the sample corpus."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for _, line in zip(range(NUM_SENTENCES // 2), lines, strict=False)]
    return [text for document in documents for text in (document["title"], document["text"].split(". ")[0] + ".")]


def main() -> None:
    """Write the golden file."""
    texts = [*REFERENCE, *HARD, *sample_sentences()]
    spacy_tokenizer = SpacyTokenizer("en")
    golden = [list(tokens) for tokens in TokenizeWithRules(tok=spacy_tokenizer)(texts)]
    whole = Tokenizer(spacy_tokenizer)
    for text, tokens in zip(texts, golden, strict=True):
        if [token.replace(" ", "\u2581") for token in whole(text)] != tokens:
            raise RuntimeError(f"Tokenizer and TokenizeWithRules disagree on {text!r}")
    rows = [{"text": text, "tokens": tokens} for text, tokens in zip(texts, golden, strict=True)]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "fastai_tokens.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
