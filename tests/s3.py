"""An S3 endpoint on loopback (moto), and a proxy before it that counts requests, is slow, and breaks off where told to.

A fault names the requests that it meets by a part of "METHOD /bucket/key?query", what happens, and how often. A storm
has a fault of some sort for every few requests, as its seed says.
"""

import contextlib
import http.client
import json
import logging
import random
import socket
import socketserver
import struct
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "w7Qp-nobody-may-read-this-Zk3",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
FOR_EVER = 1_000_000
REFUSALS = {
    "unavailable": (503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"),
    "broken": (500, b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"),
    "refused": (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
}
NOT_PASSED = ("content-length", "connection", "transfer-encoding", "date", "server")
"""Headers of an answer that are of one connection."""
END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@contextmanager
def running() -> Iterator[str]:
    """Run an S3 endpoint and give its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
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


def variables(endpoint: str) -> dict[str, str]:
    """Return what stands in the environment of a process that works with this endpoint."""
    return CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}


def user(endpoint: str, allowed: Sequence[str]) -> tuple[str, str]:
    """Make a user who may do what is `allowed` and nothing else; return the key and its secret."""
    users = boto3.client("iam", endpoint_url=endpoint, region_name=REGION)
    name = uuid.uuid4().hex
    users.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": list(allowed), "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    users.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=policy)
    key = users.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@contextmanager
def asking_for_keys(endpoint: str) -> Iterator[None]:
    """Let the store look at keys and rights, which it does not do otherwise."""

    def begin_after(num_requests: bytes) -> None:
        headers = {"content-type": "text/plain"}
        url = f"{endpoint}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(url, num_requests, headers, method="POST")).close()

    begin_after(b"0")
    try:
        yield
    finally:
        begin_after(b"inf")


What = Literal["cut", "short", "unavailable", "broken", "refused", "stall", "reset", "unanswered"]
"""cut: the connection ends in the middle of the answer; short: half an answer, whose length says that it is whole;
unavailable: 503; broken: 500; refused: 403; stall: no answer, ever; reset: the connection is broken off before the
request is passed on; unanswered: when it has been passed on."""
PASSING: tuple[What, ...] = tuple(set(get_args(What)) - {"refused", "stall"})
"""What another attempt mends at once."""


@dataclass(kw_only=True)
class Fault:
    """What happens to some requests."""

    where: str
    """Part of "METHOD /bucket/key?query"."""
    what: What
    after_bytes: int = 0
    """Bytes of a body that pass before."""
    times: int = FOR_EVER
    met: threading.Event = field(default_factory=threading.Event)
    """Set when the fault has happened for the first time."""
    count: int = 0


class Storm:
    """Faults at random: `share` of the requests meet one, after as many bytes as comes."""

    def __init__(self, seed: int, share: float) -> None:
        self._random, self._share = random.Random(seed), share
        self.count = 0

    def fault(self, line: str) -> Fault | None:
        """Return what happens to a request."""
        if self._random.random() >= self._share:
            return None
        self.count += 1
        what = self._random.choice(sorted(PASSING))
        return Fault(where=line, what=what, after_bytes=self._random.randrange(100_000))


class Answer(NamedTuple):
    """What a client is sent."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    size: int
    """Of the content, which itself is missing if only the head was asked for."""


class Proxy:
    """An HTTP proxy before one endpoint."""

    def __init__(self, endpoint: str, latency_seconds: float = 0.0) -> None:
        self.target = endpoint
        self.latency_seconds = latency_seconds
        self.requests: list[str] = []
        """"METHOD /bucket/key?query" of each request."""
        self.signed: list[bool] = []
        """Whether each request says who asks."""
        self.faults: list[Fault] = []
        self.storm: Storm | None = None
        self.released = threading.Event()
        """Set to let go of what stalls."""
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self
        self.endpoint = "http://{}:{}".format(*self._server.server_address)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def begin_anew(self) -> None:
        """Forget all requests and faults."""
        self.released.set()
        self.requests, self.signed, self.faults, self.released = [], [], [], threading.Event()
        self.storm = None

    def close(self) -> None:
        """End; connections that are open end with their clients."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def begin(self, line: str, is_signed: bool) -> Fault | None:
        """Note a request; return the fault that it meets."""
        with self._lock:
            self.requests.append(line)
            self.signed.append(is_signed)
            for fault in self.faults:
                if fault.where in line and fault.count < fault.times:
                    fault.count += 1
                    return fault
            return self.storm.fault(line) if self.storm else None

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Ask the endpoint itself."""
        upstream = http.client.HTTPConnection(self.target.removeprefix("http://"), timeout=60)
        upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        with contextlib.closing(upstream), upstream.getresponse() as response:
            content = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in NOT_PASSED}
            size = int(response.getheader("content-length") or 0) if method == "HEAD" else len(content)
            return Answer(response.status, kept, content, size)


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
        fault = proxy.begin(f"{method} {urllib.parse.unquote(path)}", "authorization" in headers)
        if fault is not None and fault.what == "stall":
            self.rfile.read(fault.after_bytes)
            fault.met.set()
            proxy.released.wait()
            return False
        body = self._body(headers)
        time.sleep(proxy.latency_seconds)
        if fault is not None and fault.what in ("reset", "unanswered"):
            if fault.what == "unanswered":
                proxy.forward(method, path, headers, body)
            fault.met.set()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault is not None and fault.what in REFUSALS:
            status, content = REFUSALS[fault.what]
            answer = Answer(status, {"content-type": "application/xml"}, content, len(content))
            if method == "HEAD":
                answer = answer._replace(content=b"")
        else:
            answer = proxy.forward(method, path, headers, body)
        if fault is not None and fault.what == "short" and method == "GET":
            half = answer.content[: len(answer.content) // 2]
            answer = answer._replace(content=half, size=len(half))
        is_cut = fault is not None and fault.what == "cut"
        self._send(answer._replace(content=answer.content[: fault.after_bytes]) if fault and is_cut else answer)
        if fault is not None:
            fault.met.set()
        return not is_cut

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

    def _send(self, answer: Answer) -> None:
        head = [f"HTTP/1.1 {answer.status} {http.client.responses[answer.status]}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        head += [f"content-length: {answer.size}", "", ""]
        self.wfile.write("\r\n".join(head).encode() + answer.content)
        self.wfile.flush()
