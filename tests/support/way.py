"""A way to the service that tests can bend: a prefix, a key that is added, refusals, a tunnel that breaks."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

KEY = "a-key-for-the-page:0123456789"  # of the service that all tests share


@dataclass
class Asked:
    method: str
    path: str
    body: bytes


@dataclass
class Way:
    """A proxy in front of a service.

    ``answers`` may answer a request itself: status, headers, body; None passes it on.
    """

    target: str
    prefix: str = ""
    key: str | None = None
    port: int = 0
    answers: Callable[[Asked], tuple[int, dict[str, str], bytes] | None] = lambda _: None
    seen: list[Asked] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}/"

    def open(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler_of(self))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Break: nothing listens any longer."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@contextmanager
def way_to(target: str, **options: object) -> Iterator[Way]:
    way = Way(target, **options)  # type: ignore[arg-type]
    way.open()
    try:
        yield way
    finally:
        way.close()


def handler_of(way: Way) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # HTTP/1.0: no connection stays open, so that a way that is closed is closed.
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self.path.startswith(f"{way.prefix}/"):
                self.reply(404, {}, b"outside of the prefix")
                return
            asked = Asked(self.command, self.path[len(way.prefix) :], body)
            way.seen.append(asked)
            self.reply(*(way.answers(asked) or self.passed_on(asked)))

        def passed_on(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
            }
            if way.key is not None:
                headers["X-Api-Key"] = way.key
            there = http.client.HTTPConnection(urlsplit(way.target).netloc, timeout=120)
            try:
                there.request(asked.method, asked.path, asked.body, headers)
                answer = there.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                there.close()

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        do_GET = do_POST = do_HEAD = answer

    return Handler
