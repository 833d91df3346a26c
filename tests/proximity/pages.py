"""A shop's website on this machine, for whoever opens links."""

from __future__ import annotations

import contextlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Site:
    """What each path answers: a status and a body, or a place to go on to; ``asked`` who came."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.onward: dict[str, str] = {}
        self.asked: list[str] = []

    def page(self, path: str, *offers: str, words: str = "Welcome.") -> None:
        """Put a page with schema.org offers (JSON) and some words."""
        scripts = "".join(f'<script type="application/ld+json">{one}</script>' for one in offers)
        self.pages[path] = 200, f"<html><body>{scripts}<p>{words}</p></body></html>".encode()


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            if self.path in site.onward:
                self.send_response(302)
                self.send_header("Location", site.onward[self.path])
                self.end_headers()
                return
            status, body = site.pages.get(self.path, (404, b"not here"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    site = Site(server.server_address[1])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
