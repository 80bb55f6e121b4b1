"""An S3 endpoint on loopback (moto), and a proxy before it that counts requests, is slow, and breaks off where told to.

A fault names the requests that it meets by a part of "METHOD /bucket/key?query", what happens, and how often.
"""

import http.client
import os
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
FOR_EVER = 1_000_000
UNAVAILABLE = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@contextmanager
def object_store() -> Iterator[str]:
    """Run an S3 endpoint and give its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def client(endpoint: str) -> Any:
    """Return boto3's client of an endpoint: another library than the one that is tested."""
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )


def environment(endpoint: str) -> dict[str, str]:
    """Return what a process that works with this endpoint has in its environment."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_ADDRESS"))} | {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint,
        "RAY_AUTH_MODE": "disabled",
    }


@dataclass(kw_only=True)
class Fault:
    """What happens to some requests."""

    where: str
    """Part of "METHOD /bucket/key?query"."""
    what: Literal["cut", "unavailable", "stall"]
    """cut: the connection ends in the middle of the answer; unavailable: 503; stall: the request's body stops."""
    after_bytes: int = 0
    """Bytes of a body that pass before."""
    times: int = FOR_EVER
    met: threading.Event = field(default_factory=threading.Event)
    """Set when the fault has happened for the first time."""
    count: int = 0


class Proxy:
    """An HTTP proxy before one endpoint."""

    def __init__(self, endpoint: str, latency_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        self.requests: list[str] = []
        """"METHOD /bucket/key?query" of each request."""
        self.faults: list[Fault] = []
        self.released = threading.Event()
        """Set to let go of what stalls."""
        self._lock = threading.Lock()
        self._target = endpoint.removeprefix("http://")
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self
        self.endpoint = "http://{}:{}".format(*self._server.server_address)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """End; connections that are open end with their clients."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def begin(self, line: str) -> Fault | None:
        """Note a request; return the fault that it meets."""
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.where in line and fault.count < fault.times:
                    fault.count += 1
                    return fault
        return None

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> http.client.HTTPResponse:
        """Ask the endpoint itself."""
        upstream = http.client.HTTPConnection(self._target, timeout=60)
        upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        return upstream.getresponse()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: Proxy


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while self._one_request():
                pass
        except ConnectionError:
            pass

    def _one_request(self) -> bool:
        """Answer a request; tell whether the connection goes on."""
        method, path, _ = [*self.rfile.readline().decode().split(" ", 2), "", "", ""][:3]
        if not method:
            return False
        proxy = self.server.proxy  # type: ignore[attr-defined]
        headers = dict(iter(self._header, None))
        if "expect" in headers:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        fault = proxy.begin(f"{method} {urllib.parse.unquote(path)}")
        if fault is not None and fault.what == "stall":
            self.rfile.read(fault.after_bytes)
            fault.met.set()
            proxy.released.wait()
            return False
        body = self._body(headers)
        time.sleep(proxy.latency_seconds)
        if fault is not None and fault.what == "unavailable":
            fault.met.set()
            self._answer(503, {"content-type": "application/xml"}, UNAVAILABLE if method != "HEAD" else b"")
            return True
        answer = proxy.forward(method, path, headers, body)
        content, size = answer.read(), None
        if method == "HEAD":
            size = answer.getheader("content-length")
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in NOT_PASSED}
        if fault is not None:
            self._answer(answer.status, kept, content[: fault.after_bytes], size=str(len(content)))
            fault.met.set()
            return False
        self._answer(answer.status, kept, content, size=size)
        return True

    def _header(self) -> tuple[str, str] | None:
        name, colon, value = self.rfile.readline().decode().partition(":")
        return (name.lower(), value.strip()) if colon else None

    def _body(self, headers: Mapping[str, str]) -> bytes:
        """Return the request's body as it was sent, chunks with their sizes."""
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = bytearray()
        while not body.endswith(END_OF_CHUNKS):
            line = self.rfile.readline()
            body += line + self.rfile.read(int(line, 16) + len("\r\n"))
        return bytes(body)

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes, size: str | None = None) -> None:
        head = [f"HTTP/1.1 {status} {http.client.responses[status]}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        head += [f"content-length: {len(content) if size is None else size}", "", ""]
        self.wfile.write("\r\n".join(head).encode() + content)
        self.wfile.flush()


NOT_PASSED = ("content-length", "connection", "transfer-encoding", "date", "server")
