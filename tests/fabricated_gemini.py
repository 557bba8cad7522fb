"""Gemini on loopback: the service's own path and JSON, with answers that are good, false or none."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, Any]]


def said(text: str, tokens: int = 1000) -> Reply:
    """An answer of the model."""
    usage = {"promptTokenCount": tokens, "candidatesTokenCount": tokens, "totalTokenCount": 2 * tokens}
    content = {"role": "model", "parts": [{"text": text}]}
    return 200, {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}


def refused(code: int, status: str, message: str) -> Reply:
    """An error of the service."""
    return code, {"error": {"code": code, "message": message, "status": status}}


def truthful(request: dict[str, Any]) -> Reply:
    """Each fact in plain words."""
    text = request["contents"][0]["parts"][0]["text"]
    items: list[dict[str, Any]] = []
    for fact in json.loads(text[text.index("\n\n[") + 2 :]):
        words = f"It is {fact['distance']} {fact['direction']}." if "distance" in fact else ""
        turn = f"The camera {fact['turn']}. " if "turn" in fact else ""
        contact = f" They are {fact['contact']}." if "contact" in fact else ""
        items.append(
            {"number": fact["number"], "question": f"What of fact {fact['number']}?", "answer": turn + words + contact}
        )
    return said(json.dumps(items))


@contextmanager
def gemini(replies: Callable[[int, dict[str, Any]], Reply]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A service; gives its address and the requests so far, each with its path and key.

    Args:
        replies: to the n-th request, from 0.
    """
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            requests.append(body | {"path": self.path, "key": self.headers["x-goog-api-key"]})
            status, reply = replies(len(requests) - 1, body)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
