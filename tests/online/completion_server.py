"""A completion server for tests: a few lines of HTTP that speak the protocol and can fail in every way."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OPENAI = {"model", "prompt", "messages", "max_tokens", "temperature", "top_p", "stop", "seed", "n", "logprobs"}
VLLM = OPENAI | {"top_k", "min_p", "repetition_penalty", "return_token_ids", "stop_token_ids"}
TRANSFORMERS = OPENAI | {"generation_config"}


@dataclass
class Script:
    """What the server takes, how it fails, and what it was asked."""

    fields: set[str] = field(default_factory=lambda: set(VLLM))
    tokens: bool = True  # it takes prompts as token ids
    many: bool = True  # it heeds `n`
    faults: dict[str, list[str]] = field(default_factory=dict)  # of a prompt: one each time it is asked, in turn
    dies_after: int | None = None  # requests
    ends: str = ""  # behind every answer
    slow: float = 0.0  # seconds to an answer
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)  # path, body, headers
    running: int = 0
    most: int = 0  # requests at once
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bodies(self, path: str = "/v1/completions") -> list[dict[str, Any]]:
        """All but the trials, which ask for one token."""
        return [body for at, body, _ in self.asked if at == path and body.get("max_tokens") != 1]


@contextmanager
def serving(script: Script) -> Generator[str]:
    """The url of a server that does what `script` says."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            if dead():
                self.connection.close()
            else:
                self.say(200, json.dumps({"data": [{"id": "served"}]}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with script.lock:
                script.asked.append((self.path, body, dict(self.headers)))
                script.running += 1
                script.most = max(script.most, script.running)
            try:
                self.answer(body)
            finally:
                with script.lock:
                    script.running -= 1

        def answer(self, body: dict[str, Any]) -> None:
            time.sleep(script.slow)
            if dead():
                self.connection.close()
                return
            if not self.path.endswith("/completions"):
                self.say(200, "Success: no JSON")
                return
            if unknown := set(body) - script.fields:
                self.say(422, f"Unexpected fields: {sorted(unknown)}")
                return
            prompt = body.get("prompt", body.get("messages"))
            if isinstance(prompt, list) and "messages" not in body and not script.tokens:
                self.say(400, "prompt must be a string.")
                return
            with script.lock:
                faults = script.faults.get(json.dumps(prompt), []) if body["max_tokens"] > 1 else []
                fault = faults.pop(0) if faults else ""
            self.fail(fault) if fault else self.say(200, json.dumps(completion(body)))

        def fail(self, fault: str) -> None:
            match fault:
                case "cut off":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"choices": [{"te')
                    self.close_connection = True
                case "closed":
                    self.close_connection = True
                    self.connection.close()
                case "silent":
                    time.sleep(0.4)
                case status if status.isdigit():
                    self.say(int(status), "out of sorts")
                case text:
                    self.say(200, text)

        def say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    def dead() -> bool:
        return script.dies_after is not None and len(script.asked) > script.dies_after

    def completion(body: dict[str, Any]) -> dict[str, Any]:
        count = body.get("n", 1) if script.many else 1
        texts = [f"{body['model']} {body['seed']} {i}{script.ends}" for i in range(count)]
        choices: list[dict[str, Any]] = [{"text": text, "finish_reason": "stop"} for text in texts]
        if "messages" in body:
            choices = [{"message": {"content": text}, "finish_reason": "length"} for text in texts]
        if body.get("return_token_ids"):
            choices = [c | {"token_ids": [5, 2], "logprobs": {"token_logprobs": [-1.0, -0.5]}} for c in choices]
        return {"choices": choices}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that has gone is part of the tests
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
