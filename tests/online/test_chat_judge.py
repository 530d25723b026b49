"""A language model behind a server, and a person at the terminal, as judges."""

import io
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from truenorth.errors import SettingsError
from truenorth.judge import Failed, Question, Wins, judge_of
from truenorth.online.endpoint import Endpoint
from truenorth.online.judge import open_judge
from truenorth.online.judges.chat import TEMPLATE, Chat, filled, verdict_in

Reply = Callable[[str], tuple[int, str]]  # status and the assistant's text, to the user's
LONG, SHORT = "a long answer", "short"


@contextmanager
def judging(reply: Reply) -> Generator[tuple[str, list[dict[str, Any]]]]:
    """The url of a chat server that says `reply`, and the bodies that it was sent."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *_: object) -> None: ...  # noqa: A002

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            status, text = reply(body["messages"][0]["content"])
            said = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def first_answer(text: str) -> str:
    return text.partition("[Answer A]\n")[2].partition("\n\n[Answer B]")[0]


def likes_long(text: str) -> tuple[int, str]:
    return 200, f"I thought it over.\n\n**Verdict: {'A' if first_answer(text) == LONG else 'B'}**"


def chat(url: str, **settings: Any) -> Chat:
    return Chat(url=url, model="judge", wait_seconds=0.0, **settings)


def test_the_model_is_asked_in_both_orders_and_its_verdict_is_read(tmp_path: Path) -> None:
    with judging(likes_long) as (url, asked):
        verdict = open_judge(chat(url), cache=tmp_path)(["p"], [[SHORT, LONG]])[0]
    assert verdict == Wins(((0.5, 0.0), (1.0, 0.5)))
    assert sorted(first_answer(body["messages"][0]["content"]) for body in asked) == [LONG, SHORT]
    assert all(body["model"] == "judge" and body["temperature"] == 0 for body in asked)


def test_a_model_that_always_takes_the_first_says_a_half(tmp_path: Path) -> None:
    with judging(lambda _: (200, "Verdict: A")) as (url, _):
        assert open_judge(chat(url), cache=tmp_path)(["p"], [["x", "y"]])[0] == Wins(((0.5, 0.5), (0.5, 0.5)))


def test_an_answer_without_a_verdict_is_asked_for_again(tmp_path: Path) -> None:
    left = ["What a day!", "Verdict: maybe", ""]

    def reply(text: str) -> tuple[int, str]:
        return (200, left.pop()) if left else likes_long(text)

    with judging(reply) as (url, asked):
        verdict = open_judge(chat(url, parallel=1), cache=tmp_path)(["p"], [[LONG, SHORT]])[0]
    assert verdict == Wins(((0.5, 1.0), (0.0, 0.5)))
    assert len(asked) == 5


def test_a_prompt_without_a_verdict_is_left_out_and_the_others_are_kept(tmp_path: Path) -> None:
    def reply(text: str) -> tuple[int, str]:
        return (200, "I refuse.") if "strange" in text else likes_long(text)

    with judging(reply) as (url, asked):
        judge = open_judge(chat(url), cache=tmp_path)
        verdicts = judge(["strange", "plain"], [[LONG, SHORT], [LONG, SHORT]])
        assert isinstance(verdicts[0], Failed)
        assert "I refuse." in verdicts[0].reason
        assert verdicts[1] == Wins(((0.5, 1.0), (0.0, 0.5)))
        before = len(asked)
        assert judge(["plain"], [[LONG, SHORT]])[0] == verdicts[1]
        assert len(asked) == before


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(tmp_path: Path) -> None:
    busy = [503, 503]
    with judging(lambda text: (busy.pop(), "") if busy else likes_long(text)) as (url, _):
        verdict = open_judge(chat(url, parallel=1), cache=tmp_path / "a")(["p"], [[LONG, SHORT]])[0]
    assert isinstance(verdict, Wins)
    with judging(lambda _: (400, "")) as (url, asked):
        verdict = open_judge(chat(url), cache=tmp_path / "b")(["p"], [[LONG, SHORT]])[0]
    assert isinstance(verdict, Failed)
    assert "refused: status 400" in verdict.reason
    assert len(asked) == 2


def test_a_server_that_is_gone_leaves_all_prompts_out_with_the_reason(tmp_path: Path) -> None:
    verdicts = open_judge(chat("http://127.0.0.1:9/v1"), cache=tmp_path)(["p", "q"], [[LONG, SHORT]] * 2)
    assert all(isinstance(v, Failed) and "server failed" in v.reason for v in verdicts)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Verdict: A", 1.0),
        ("verdict: **b**", 0.0),
        ("Verdict: tie.", 0.5),
        ("Verdict: A tie", 0.5),
        ("Verdict: **a tie**.", 0.5),
        ("Verdict: Answer B", 0.0),
        ("<think>Verdict: A</think>Verdict: B", 0.0),
        ("At first, Verdict: A. No. Verdict: B", 0.0),
        ("B", 0.0),
        ("A is the better one", None),
        ("Verdict: Apple", None),
        ("", None),
    ],
)
def test_the_last_verdict_counts_and_nonsense_is_none(said: str, found: float | None) -> None:
    assert verdict_in(said) == found


def test_a_stop_does_not_wait_for_further_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, began = list[bool](), threading.Event()

    def answer(_: Chat, endpoint: Endpoint, question: Question) -> float:
        if question.prompt == "stop":
            began.wait(5)
            raise KeyboardInterrupt
        began.set()
        heard.append(endpoint.over.wait(5))  # as between two tries
        return 0.5

    monkeypatch.setattr(Chat, "_answer", answer)
    with pytest.raises(KeyboardInterrupt):
        chat("http://x/v1", parallel=2).open()([Question(prompt, ("a", "b")) for prompt in ("stop", "go on")])
    assert heard == [True]


def test_braces_in_an_answer_are_no_places() -> None:
    text = filled(TEMPLATE, Question([{"role": "user", "content": "{second}?"}], ("{prompt}", "b")))
    assert "[Request]\n{second}?\n" in text
    assert "[Answer A]\n{prompt}\n" in text


def test_a_template_must_have_its_places() -> None:
    with pytest.raises(SettingsError, match=r"lacks \{second\}"):
        chat("http://x/v1", template="{prompt}\n{first}")


def test_where_a_server_is_does_not_change_what_it_said() -> None:
    assert chat("http://a/v1", parallel=2).identity() == chat("http://b/v1").identity()
    assert chat("http://a/v1", template=TEMPLATE + " ").identity() != chat("http://a/v1").identity()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def typed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(text))


def test_a_person_is_asked_once_for_each_pair_and_what_they_said_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("what?\n2\n=\n", monkeypatch)
    verdicts = open_judge(judge_of("person"), cache=tmp_path)(["p", "q", "r"], [["b", "a"], ["b", "a"], ["a", "b"]])
    assert verdicts[0] == Wins(((0.5, 1.0), (0.0, 0.5)))  # a stands first, in the order of the texts
    assert verdicts[1] == Wins(((0.5, 0.5), (0.5, 0.5)))
    assert isinstance(verdicts[2], Failed)
    assert "stopped" in verdicts[2].reason
    typed("s\n", monkeypatch)
    again = open_judge(judge_of("person"), cache=tmp_path)(["p", "r"], [["a", "b"], ["a", "b"]])
    assert again[0] == Wins(((0.5, 0.0), (1.0, 0.5)))
    assert isinstance(again[1], Failed)
    assert "skipped" in again[1].reason


def test_a_person_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SettingsError, match="no terminal"):
        open_judge(judge_of("person"))
