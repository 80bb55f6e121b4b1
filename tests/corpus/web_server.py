"""Two web servers on loopback: one that sends parts of files, and one that does not."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


class WholeFiles(http.server.SimpleHTTPRequestHandler):
    """The standard library's: it knows no ranges."""

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


class Ranges(WholeFiles):
    """Sends the part that is asked for, and an ETag; a file called hollow has no length."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        stop = int(asked[2]) + 1 if asked and asked[2] else len(content)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}")
        if path.name != "hollow.txt":
            self.send_header("Content-Length", str(len(content[start:stop])))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:stop])

    def do_HEAD(self) -> None:
        self.do_GET()


@contextmanager
def serving(root: Path, handler: type[WholeFiles]) -> Iterator[str]:
    """Serve a folder, and give its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
