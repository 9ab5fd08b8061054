"""A server that keeps the headers it is shown, and embeds every text alike."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        self.server.shown.append({name.lower(): value for name, value in self.headers.items()})
        data = [{"index": i, "embedding": [1.0, 2.0]} for i in range(len(texts))]
        content = json.dumps({"object": "list", "data": data, "usage": {}}).encode()
        self.send_response(307 if self.server.elsewhere else 200)
        if self.server.elsewhere:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class HeaderServer(ThreadingHTTPServer):
    """Runs in a thread.

    Attributes:
        shown: The headers of each request, their names in lower case.
        elsewhere: Where requests are sent on to; None to answer them.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shown = []
        self.elsewhere = None
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def authorizations(self):
        return [headers.get("authorization") for headers in self.shown]


@contextlib.contextmanager
def header_server():
    with HeaderServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
