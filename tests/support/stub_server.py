"""An OpenAI-compatible server on loopback for tests: answers by a function, and misbehaves by a plan."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], str]
# ok | 429 | 500 | 400 | 401 | slow | cut | garbage | empty | drop, one for each request; then ok
Plan = Sequence[str]


class Stub(ThreadingHTTPServer):
    """The server: `requests` are the bodies it was sent, `times` when (monotonic seconds)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Answer, plan: Plan = (), *, retry_after: str = "0", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer, self.plan, self.retry_after = answer, list(plan), retry_after
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.keys.append(self.headers.get("Authorization", ""))
            self.server.times.append(time.monotonic())
            fate = self.server.plan.pop(0) if self.server.plan else "ok"
        if fate == "drop":
            self.close_connection = True
            return
        if fate.isdigit():
            key = self.headers.get("Authorization", "")
            self._send(int(fate), json.dumps({"error": {"message": f"fault for {key}"}}).encode())
            return
        if fate == "slow":
            time.sleep(1.5)
        content = {"garbage": b'{"choices": [', "empty": b'{"choices": []}'}.get(fate)
        self._send(200, content or json.dumps(self._completion(body)).encode(), cut=fate == "cut")

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.server.answer(body)
        words = sum(len(turn["content"].split()) for turn in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": len(text.split())}
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "1", "object": "chat.completion", "model": "stub", "choices": [choice], "usage": usage}

    def _send(self, status: int, content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """The stub at work within the block."""
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
