"""A server that results are put to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Takes what is put, or refuses with a status."""

    def __init__(self) -> None:
        self.taken: dict[str, bytes] = {}
        self.status = 201
        self.busy = 0  # requests to refuse before
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.busy:
                    outer.busy -= 1
                    self.send_response(503)
                else:
                    outer.taken[self.path] = data
                    self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    one.thread.start()
    yield one
    one.server.shutdown()
    one.thread.join()
    one.server.server_close()
