"""JSON over HTTP to a server that may be slow, busy, or gone."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, TypeVar

from ..completions import ServerSettings

Read = TypeVar("Read")
AGAIN = frozenset({408, 409, 425, 429, *range(500, 600)})  # statuses that may be others at the next try
GONE = frozenset({None, 502, 503, 504})  # no answer at all, or that of a gateway whose server gives none
LONGEST_WAIT = 60.0  # seconds between two tries


class ServerRefused(Exception):
    """The server understood the request and will not do it (a status of 4xx): to ask again is no use."""


class ServerFailed(Exception):
    """No answer could be had, in as many tries as are allowed."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status  # of the last try; None: it did not even answer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server. Safe to use from several threads."""

    settings: ServerSettings
    over: threading.Event = field(default_factory=threading.Event)  # set: requests are not tried again

    def post(self, path: str, body: Mapping[str, Any], read: Callable[[bytes], Read]) -> Read:
        """What `read` finds in the answer. Raises ServerRefused or ServerFailed.

        A ValueError of `read` says that the answer is nonsense, and the request is made again.
        """
        return self._asked(self._request(path, json.dumps(body).encode()), read)

    def get(self, path: str, read: Callable[[bytes], Read]) -> Read:
        """As `post`, without a body."""
        return self._asked(self._request(path, None), read)

    def _request(self, path: str, body: bytes | None) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if (variable := self.settings.key_variable) and (key := os.environ.get(variable)):
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(self.settings.url.rstrip("/") + path, data=body, headers=headers)

    def _asked(self, request: urllib.request.Request, read: Callable[[bytes], Read]) -> Read:
        why, status = "it was given up", None
        for attempt in range(self.settings.tries):
            wait = 0.0
            try:
                with urllib.request.urlopen(request, timeout=self.settings.timeout_seconds) as reply:
                    return read(reply.read())
            except urllib.error.HTTPError as error:
                why, status = f"status {error.code}: {_said(error)}", error.code
                if error.code not in AGAIN:
                    raise ServerRefused(why) from error
                wait = _retry_after(error)
            except (OSError, HTTPException, ValueError) as error:  # refused, timed out, cut off, or no JSON
                why, status = _reason(error), None
            last = attempt + 1 == self.settings.tries
            if last or self.over.wait(min(LONGEST_WAIT, max(wait, self.settings.wait_seconds * 2**attempt))):
                break
        raise ServerFailed(why, status)

    def await_ready(self) -> None:
        """Wait until the server lists its models. Raises ServerFailed after `timeout_seconds`."""
        deadline = time.monotonic() + self.settings.timeout_seconds
        while True:
            try:
                self.get("/models", json_object)
                return
            except ServerFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(self.settings.wait_seconds)  # with one try `get` itself does not wait


def json_object(answer: bytes) -> dict[str, Any]:
    """An answer's JSON. Raises ValueError where it is none, or no object."""
    try:
        found: Any = json.loads(answer)
    except ValueError as error:
        raise ValueError(f"no JSON: {answer[:60]!r}") from error
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object: {answer[:60]!r}")
    return found  # pyright: ignore[reportUnknownVariableType]


def _said(error: urllib.error.HTTPError) -> str:
    """The server's own words, on one line."""
    try:
        return " ".join(error.read(2000).decode(errors="replace").split())[:300]
    except (OSError, HTTPException):
        return str(error.reason)


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return "it said nothing for as long as is allowed"
    return f"{type(inner).__name__}: {inner}"


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Seconds that the server asks us to wait."""
    value = error.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
