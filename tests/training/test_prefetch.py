import threading
import time
from collections.abc import Iterator

import pytest

from ulmfit_ray.training.prefetch import prefetched


def test_items_come_in_their_order():
    assert list(prefetched(iter(range(100)), ahead=3)) == list(range(100))


def test_an_error_comes_where_its_item_would_have_come():
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("the disk is gone")

    reader = prefetched(items())
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)


def test_no_more_is_read_ahead_than_was_asked_for():
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    reader = prefetched(items(), ahead=2)
    next(reader)
    time.sleep(0.3)
    # One was taken, two are ready, and one waits for its place.
    assert len(read) == 4
    reader.close()


def test_a_reader_that_is_closed_early_leaves_no_thread():
    reader = prefetched(iter(range(100)), ahead=1)
    next(reader)
    reader.close()
    deadline = time.monotonic() + 10
    while any(thread.name == "prefetch" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
