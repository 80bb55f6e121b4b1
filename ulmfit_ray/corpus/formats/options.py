"""What a person may say of how files are read: --encoding, --delimiter, --quoting, --no-header, and which columns.

The same for all files of a corpus; plan.json keeps it, so that every worker reads alike.
"""

import codecs
from dataclasses import dataclass, fields
from typing import Any, Self

OPTION_FLAGS = {"encoding": "--encoding", "delimiter": "--delimiter", "quoting": "--quoting", "header": "--no-header"}
"""The options that a format may take, and how a person writes them."""
UTF8_NAMES = ("utf-8", "utf-8-sig")
LEAD_BYTES = range(0x80, 0x100)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingOptions:
    """How the files of a corpus are read; None is the format's own way."""

    columns: tuple[str, ...] = ("text",)
    """The columns that are asked for; a format that can leaves out the others."""
    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: bool | None = None
    header: bool = True
    classes: tuple[str, ...] = ()
    """Names of the classes that the first column numbers from 1 on."""

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(f"--delimiter must be one character and no quote or newline, not {self.delimiter!r}")
        check_encoding(self.encoding)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Rebuild the options from what plan.json says."""
        return cls(**content | {name: tuple(content[name]) for name in ("columns", "classes")})

    def given(self) -> list[str]:
        """Return the names of the options that differ from their defaults."""
        return [item.name for item in fields(self) if item.name in OPTION_FLAGS and self._is_given(item)]

    def _is_given(self, item: Any) -> bool:
        return getattr(self, item.name) != item.default


def encoding_name(name: str) -> str:
    """Return an encoding's name as messages and plan.json have it: "utf-8" however a person writes that."""
    try:
        return "utf-8" if codecs.lookup(name).name in UTF8_NAMES else name
    except LookupError:
        return name


def check_encoding(name: str) -> None:
    """Raise ValueError unless Python knows the encoding and a byte below 128 is the same character as in ASCII.

    Newlines, quotes and braces are looked for in the bytes.
    """
    characters = [chr(code) for code in range(LEAD_BYTES.start)]
    try:
        # Some encodings shift with a sequence of bytes: each byte must stand for itself, alone and among others.
        alone = [character.encode().decode(name) for character in characters]
        is_ascii = alone == characters and "".join(characters).encode().decode(name) == "".join(characters)
    except LookupError as error:
        raise ValueError(f"--encoding {name} is not known to Python: say utf-8, latin-1, cp1252 or the like") from error
    except UnicodeError:
        is_ascii = False
    if not is_ascii:
        raise ValueError(
            f"--encoding {name} is not read, for ASCII's characters are other bytes in it: convert the files,"
            f" as with iconv -f {name} -t utf-8"
        )


def stands_alone(character: str, encoding: str) -> bool:
    """Tell whether a character is one byte, and that byte always this character and never a part of another one."""
    if not character.isascii():
        return False
    found = (bytes([lead]) + character.encode() for lead in LEAD_BYTES)
    return all(two.decode(encoding, "replace").endswith(character) for two in found)
