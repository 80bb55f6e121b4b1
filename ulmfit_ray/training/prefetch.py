"""Batches read ahead by a thread, so that a step does not wait for the disk."""

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
AHEAD = 4
"""Windows of 64 x 72 tokens are 37 KB each; reading one takes about a millisecond, a new shard some more."""


def prefetched(items: Iterator[Item], ahead: int = AHEAD) -> Iterator[Item]:
    """Yield the same items in the same order; an error of `items` is raised where its item would have come.

    A consumer that stops early ends the thread by closing this generator.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(ahead)
    is_closed = threading.Event()

    def put(message: tuple[str, Any]) -> bool:
        while not is_closed.is_set():
            try:
                ready.put(message, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put(("item", item)):
                    return
        except Exception as error:
            put(("error", error))
        else:
            put(("end", None))

    threading.Thread(target=read, daemon=True, name="prefetch").start()
    try:
        while True:
            kind, content = ready.get()
            if kind == "error":
                raise content
            if kind == "end":
                return
            yield content
    finally:
        is_closed.set()
