"""Write fastai_v1_tokens.json and fastai_07_tokens.json: what fastai 1.0.61 and 0.7.0 make of each text.

    pip download --no-deps fastai==1.0.61; pip download --no-deps fastai==0.7.0
    python tests/golden/make_earlier_fastai_tokens.py fastai-1.0.61-py3-none-any.whl fastai-0.7.0.tar.gz create_toks.py

create_toks.py lies in courses/dl2/imdb_scripts of fastai's repository (0.7 had this step in a script). Neither version
can be installed beside a Python of today, but what cuts text needs little of it: that source is run as it is, with
spaCy's blank pipeline of today in the place of the model that 0.7 loads (its tokenizer is the same). Each text stands
behind the marks that its version sets, which are left out of the file. A text whose beginning changes the mark ("1 1 1"
behind 0.7's "xfld 1") is left out too.
"""

import ast
import collections
import html
import json
import re
import sys
import tarfile
import typing
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import spacy

HERE = Path(__file__).parent
MORE = [
    "no no no no no, no no no no. No! No! No! No! No! yes",
    "aaaa ABCD ABc Abc AB A \u00c4B \u00c4BC \u00c4bc d'Artagnan McDonald X-RAY U.S.A. O'NEIL 3D 4TH",
    "1 @,@ 5 @.@ 6 and 3 @-@ 4",
    "a <br> b <BR> c <br/> d < br > e",
    "the <eos> and <bos> and <unk> words",
    "xbos xfld u_n _unk_ xxup",
    "one #two/three\\four\nfive",
    "\u24b6\u24b7\u24b8 \u216b\u216b\u216b \u01c5abc \u0130STANBUL",
    " /front  /  back/ ",
    "....front",
]
BLANK = SimpleNamespace(blank=lambda lang, **_: spacy.blank(lang), load=spacy.blank)


def tokens_of_v1(wheel: str, texts: list[str]) -> list[list[str] | None]:
    """Return what 1.0.61's Tokenizer makes of texts with xxbos in front, less the xxbos (None: it is not there)."""
    source = zipfile.ZipFile(wheel).read("fastai/text/transform.py").decode()
    source = source.replace("from ..torch_core import *", "").replace("import spacy\n", "")
    defaults = SimpleNamespace(cpus=1)
    names: dict[str, Any] = {"re": re, "html": html, "collections": collections, "defaults": defaults, "spacy": BLANK}
    names |= {name: getattr(typing, name) for name in ("Collection", "List", "Callable")}
    names |= {"ListRules": Any, "Tokens": Any, "PathOrStr": Any, "ifnone": lambda a, b: b if a is None else a}
    exec(source, names)
    found = names["Tokenizer"]().process_all([f"xxbos {text}" for text in texts])
    return [_without(["xxbos"], tokens) for tokens in found]


def tokens_of_v07(sdist: str, create_toks: str, texts: list[str]) -> list[list[str] | None]:
    """Return what 0.7's fixup and Tokenizer make of texts behind its marks, less them (None: they are not there)."""
    with tarfile.open(sdist) as archive:
        member = archive.extractfile("fastai-0.7.0/fastai/text.py")
        assert member is not None
        source = member.read().decode()
    names: dict[str, Any] = {"re": re, "html": html, "spacy": BLANK, "ORTH": spacy.symbols.ORTH}
    for code, wanted in ((source, "Tokenizer"), (Path(create_toks).read_text(), "fixup")):
        definition = next(node for node in ast.parse(code).body if getattr(node, "name", "") == wanted)
        exec(compile(ast.Module([definition], []), wanted, "exec"), names)
    names["re1"] = re.compile(r"  +")
    marked = [names["fixup"](f"\nxbos xfld 1 {text}") for text in texts]
    found = names["Tokenizer"].proc_all(marked, "en")
    return [_without(["\n", "xbos", "xfld", "1"], tokens) for tokens in found]


def _without(marks: list[str], tokens: list[str]) -> list[str] | None:
    return tokens[len(marks) :] if tokens[: len(marks)] == marks else None


def main() -> None:
    """Write both golden files: fastai 2's texts, and MORE."""
    wheel, sdist, create_toks = sys.argv[1:]
    texts = [row["text"] for row in json.loads((HERE / "fastai_tokens.json").read_text())] + MORE
    found = {"v1": tokens_of_v1(wheel, texts), "07": tokens_of_v07(sdist, create_toks, texts)}
    for version, golden in found.items():
        pairs = zip(texts, golden, strict=True)
        rows = [{"text": text, "tokens": tokens} for text, tokens in pairs if tokens is not None]
        lines = ",\n".join(json.dumps(row) for row in rows)
        (HERE / f"fastai_{version}_tokens.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
