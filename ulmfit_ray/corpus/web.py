"""Files on a web server: what a HEAD request says of them."""

import posixpath
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

WEB_SCHEMES = ("http://", "https://")
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file as its server describes it."""

    name: str
    size: int
    version: str
    """What changes with the content: the ETag, or else the time; "" if the server says neither."""
    has_ranges: bool
    """Whether the server sends parts of it."""


def is_on_the_web(path: str) -> bool:
    """Tell whether a path is the address of a file on a web server."""
    return path.lower().startswith(WEB_SCHEMES)


def ask_for(url: str) -> WebFile:
    """Return what the server says of a file.

    Raises:
        ValueError: the server cannot be reached, has no such file, or does not say how long it is.
    """
    request = urllib.request.Request(url.replace(" ", "%20"), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        raise ValueError(f"input {url}: the server answers {error.code} {error.reason}") from error
    except OSError as error:
        raise ValueError(f"input {url} cannot be reached: {getattr(error, 'reason', error)}") from error
    size = headers.get("Content-Length", "")
    if not size.isdecimal():
        raise ValueError(f"input {url}: the server does not say how long it is (Content-Length): download it first")
    return WebFile(
        name=unquote(posixpath.basename(urlsplit(url).path)),
        size=int(size),
        version=headers.get("ETag") or headers.get("Last-Modified") or "",
        has_ranges=headers.get("Accept-Ranges", "").lower() == "bytes",
    )
