"""The server of this checkout, and a server whose responses a test writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional


class RealServer:
    """A server with a database of its own."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._folder = tempfile.TemporaryDirectory()
        self._process: Optional[subprocess.Popen[str]] = None
        self.base = ""

    def __enter__(self) -> RealServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Starts it, again at the same address."""
        listen = self.base.split("//")[1] if self.base else "127.0.0.1:0"
        data = str(Path(self._folder.name) / "data")
        command = [os.environ["SERVER_PROGRAM"], "--data-dir", data, "--listen", listen, "--log", "off", *self._flags]
        # Its variables begin with CALLHISTORY_.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={})
        self._process = process
        assert process.stdout is not None
        for line in process.stdout:
            if " at http" in line:
                self.base = line.split(" at ")[1].strip()
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass
class Request:
    path: str
    headers: Dict[str, str]
    text: str


Handler = Callable[[BaseHTTPRequestHandler], None]


class Stub:
    """A server that gives one response after the other, and the last one again."""

    def __init__(self, *handlers: Handler) -> None:
        self.requests: List[Request] = []
        requests = self.requests

        class Handled(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                handler = handlers[min(len(requests), len(handlers) - 1)]
                requests.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, text))
                self.close_connection = True
                try:
                    handler(self)
                except OSError:
                    # The client did not wait for the end.
                    pass

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handled)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def nobody() -> str:
    """A base URL at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def answer(body: Any, status: int = 200, **headers: str) -> Handler:
    """A response with JSON, or with a text."""
    text = body if isinstance(body, str) else json.dumps(body)

    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {"content_type": "application/json", "content_length": str(len(text.encode())), **headers}
        for name, value in sent.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return handle


def problem(status: int, code: str, **headers: str) -> Handler:
    body = {"type": f"urn:{code}", "title": "A title", "status": status, "code": code, "detail": "secret"}
    return answer(body, status, content_type="application/problem+json", x_request_id="r1", **headers)


def cut_off(text: str, **headers: str) -> Handler:
    """A response that ends in the middle of its body."""
    return answer(text, 200, content_length=str(len(text) + 50), **headers)


def dropped(handler: BaseHTTPRequestHandler) -> None:
    """No response."""
    handler.connection.shutdown(socket.SHUT_RDWR)
