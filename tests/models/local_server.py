"""A server of files on this machine, for tests of downloads: with ranges or without, whole or cut."""

import http.server
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve what the test gives, with ranges or without, whole or cut after so many bytes."""

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted))
        data = server.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1)) if wanted and server.has_ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][: server.cut_after])

    def log_message(self, *args):
        pass


@contextmanager
def serving() -> Iterator[Callable[..., str]]:
    """Serve files on 127.0.0.1: `serve({"name": bytes}, has_ranges=..., cut_after=...)` gives the URL.

    `serve.asked` has each request's path and range.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()

        def serve(files: Mapping[str, bytes], *, has_ranges: bool = True, cut_after: int | None = None) -> str:
            server.files, server.has_ranges, server.cut_after = files, has_ranges, cut_after
            return f"http://127.0.0.1:{server.server_port}"

        serve.asked = server.asked = []
        yield serve
        server.shutdown()
        thread.join()
