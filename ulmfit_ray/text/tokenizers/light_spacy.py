"""spaCy, imported without torch. Import this module before any other part of spaCy.

spaCy's thinc imports torch wherever it is installed: two seconds and 200 MB for each process, and cutting words needs
none of it. A process that has torch already keeps it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let `import name` fail inside the block, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _hidden("torch"):
    import spacy

__all__ = ["spacy"]
