"""A server for downloads that fails on request."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `files` by path, honors Range, and fails on request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []  # path and Range header of each request
        self.sent = 0  # bytes of bodies
        self.stop_after: int | None = None  # bytes of a body, then the connection closes
        self.stall: threading.Event | None = None  # waited for instead of closing
        self.tells_length = True
        self.status_of_ranges = 206
        self.shift_of_ranges = 0
        self.headers: dict[str, str] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append((self.path, wanted))
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        status, start = 200, 0
        if wanted and server.status_of_ranges != 200:
            status = server.status_of_ranges
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) + server.shift_of_ranges
        if status == 416:
            self.send_error(416)
            return
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.tells_length:
            self.send_header("Content-Length", str(len(body) - start))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        part = body[start:][: server.stop_after]
        server.sent += len(part)  # before the client can have it
        self.wfile.write(part)
        if server.stall is not None:
            server.stall.wait(30)

    def log_message(self, *_: object) -> None:
        pass
