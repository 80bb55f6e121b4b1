"""What can be read of a damaged file, and what is not taken for damage."""

import bz2
import gzip
import lzma
import random
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest

from ulmfit_ray.corpus import damage
from ulmfit_ray.corpus.damage import STEP_BYTES, DamagedFileError, open_checked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = b"".join(b"%d %s\n" % (number, random.Random(number).randbytes(30).hex().encode()) for number in range(4000))


class Kind(NamedTuple):
    """A compression: how it is made, and how the standard library reads the front of such a file."""

    compress: Callable[[bytes], bytes]
    front: Callable[[bytes], bytes]


KINDS = {
    ".gz": Kind(gzip.compress, lambda stored: zlib.decompressobj(31).decompress(stored)),
    ".bz2": Kind(lambda content: bz2.compress(content, 1), lambda stored: bz2.BZ2Decompressor().decompress(stored)),
    ".xz": Kind(lzma.compress, lambda stored: lzma.LZMADecompressor().decompress(stored)),
    ".zst": Kind(zstd.compress, lambda stored: zstd.ZstdDecompressor().decompress(stored)),
}
WHOLE = {suffix: kind.compress(CONTENT) for suffix, kind in KINDS.items()}


def read_in(size: int, stream: BinaryIO) -> tuple[bytes, DamagedFileError | None]:
    """Return what a stream gives in reads of `size` bytes, and the damage that ended it."""
    found = b""
    with stream:
        try:
            while chunk := stream.read1(size):  # type: ignore[attr-defined]
                found += chunk
        except DamagedFileError as error:
            return found, error
    return found, None


@pytest.fixture(params=KINDS)
def suffix(request: pytest.FixtureRequest) -> str:
    """The name of a compression."""
    return request.param


def stored(tmp_path: Path, suffix: str, content: bytes) -> str:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(content)
    return str(path)


def test_a_whole_file_is_read_to_its_end(tmp_path: Path, suffix: str) -> None:
    path = stored(tmp_path, suffix, WHOLE[suffix])
    assert len(CONTENT) > 3 * STEP_BYTES
    assert read_in(1000, open_checked(path, len(WHOLE[suffix]))) == (CONTENT, None)


def test_a_file_that_is_not_compressed_is_opened_as_it_is(tmp_path: Path) -> None:
    with open_checked(stored(tmp_path, "", b"one\ntwo"), 7) as stream:
        assert stream.readlines() == [b"one\n", b"two"]


def test_all_that_a_cut_file_holds_is_read_however_much_is_asked_for(tmp_path: Path, suffix: str) -> None:
    whole = WHOLE[suffix]
    for length in [*range(2, len(whole), len(whole) // 8), len(whole) - 1]:
        path = stored(tmp_path, suffix, whole[:length])
        expected = KINDS[suffix].front(whole[:length])
        for size in (100, 5000, STEP_BYTES, 1 << 20):
            found, error = read_in(size, open_checked(path, length))
            assert found == expected, (length, size)
            assert error is not None
            assert error.offset == len(expected)
            assert error.detail.startswith("EOFError: ")


def changed(whole: bytes, seed: int) -> bytes:
    """Return stored bytes of which one has another bit."""
    draw = random.Random(seed)
    place = draw.randrange(len(whole) // 4, len(whole))
    return whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :]


def readable(stored: bytes) -> bytes:
    """Return what zlib gives of a gzip file when it is fed byte by byte, up to the first error."""
    decompressor = zlib.decompressobj(31)
    found = b""
    try:
        for place in range(len(stored)):
            found += decompressor.decompress(stored[place : place + 1])
    except zlib.error:
        pass
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_ends_a_gzip_file_where_zlib_can_read_no_further(tmp_path: Path, seed: int) -> None:
    broken = changed(WHOLE[".gz"], seed)
    found, error = read_in(1000, open_checked(stored(tmp_path, ".gz", broken), len(broken)))
    assert error is not None
    expected = readable(broken)
    # The decompressor may throw away the byte that it found in the call that fails.
    assert expected[: len(found)] == found
    assert len(expected) - len(found) <= 1
    assert error.offset == len(found)


@pytest.mark.parametrize("suffix", [".bz2", ".xz"])
@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_ends_a_file_at_one_place_however_much_is_asked_for(
    tmp_path: Path, suffix: str, seed: int
) -> None:
    broken = changed(WHOLE[suffix], seed)
    path = stored(tmp_path, suffix, broken)
    read = [read_in(size, open_checked(path, len(broken))) for size in (1000, 1 << 20)]
    assert read[0][0] == read[1][0]
    assert all(error is not None and error.offset == len(found) for found, error in read)


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        (".gz", "BadGzipFile: Not a gzipped file"),
        (".bz2", "OSError: Invalid data stream"),
        (".xz", "LZMAError: Input format not supported"),
        (".zst", "ZstdError: Unable to decompress"),
    ],
)
def test_a_file_that_is_no_compressed_one_is_damaged_at_its_front(tmp_path: Path, suffix: str, reason: str) -> None:
    found, error = read_in(1000, open_checked(stored(tmp_path, suffix, b"plain text\n" * 99), 99 * 11))
    assert (found, error and error.offset) == (b"", 0)
    assert error is not None
    assert error.detail.startswith(reason)


def test_a_file_of_another_size_than_planned_is_an_error_and_no_damage(tmp_path: Path, suffix: str) -> None:
    half = WHOLE[suffix][: len(WHOLE[suffix]) // 2]
    with pytest.raises(OSError, match=f"has {len(half):,} bytes, {len(WHOLE[suffix]):,} were planned"):
        read_in(1000, open_checked(stored(tmp_path, suffix, half), len(WHOLE[suffix])))


def failing(*places: int) -> Callable[[Any, int], bytes]:
    """Return a reading step that fails as a network does, in the first opened file after as many steps as the first
    number says, in the second after the second number, and so on."""
    steps: dict[int, int] = {}
    read_some = damage._read_some

    def step(file: Any, size: int) -> bytes:
        number = list(steps).index(id(file)) if id(file) in steps else len(steps)
        steps[id(file)] = steps.get(id(file), 0) + 1
        if number < len(places) and steps[id(file)] > places[number]:
            raise OSError("connection reset")
        return read_some(file, size)

    return step


@pytest.mark.parametrize("places", [(2,), (2, 1)], ids=["once", "at another place"])
def test_an_error_that_does_not_come_again_at_the_same_place_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: tuple[int, ...]
) -> None:
    path = stored(tmp_path, ".gz", WHOLE[".gz"])
    monkeypatch.setattr(damage, "_read_some", failing(*places))
    with pytest.raises(OSError, match="connection reset"):
        read_in(1000, open_checked(path, len(WHOLE[".gz"])))


def test_an_error_is_no_damage_where_the_stored_bytes_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> BinaryIO:
        raise PermissionError("no access")

    half = WHOLE[".gz"][:10_000]
    path = stored(tmp_path, ".gz", half)
    monkeypatch.setattr(damage, "open_stored", refuse)
    with pytest.raises(PermissionError, match="no access"):
        read_in(1000, open_checked(path, len(half)))


def test_a_missing_file_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_checked(str(tmp_path / "missing.gz"), 3)
