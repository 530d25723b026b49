"""The corpus is made from a seed, in the shares that it states."""

from collections import Counter
from itertools import islice

import pytest

from truenorth.world import corpus, letter, oracles, review, tale


def kind(exchange: corpus.Exchange) -> str:
    subjects = {"review": review.subject, "letter": letter.subject, "tale": tale.subject}
    return next((name for name, subject in subjects.items() if subject(exchange.request)), "fact")


@pytest.mark.parametrize("stream", [corpus.documents, corpus.exchanges])
def test_the_same_seed_gives_the_same_text(stream):
    assert list(islice(stream(3), 200)) == list(islice(stream(3), 200))


@pytest.mark.parametrize("stream", [corpus.documents, corpus.exchanges])
def test_another_seed_gives_another_text(stream):
    assert list(islice(stream(3), 20)) != list(islice(stream(4), 20))


def test_conversations_come_in_their_shares():
    counts = Counter(kind(exchange) for exchange in islice(corpus.exchanges(0), 2000))
    assert counts["review"] / 2000 == pytest.approx(0.35, abs=0.04)
    assert counts["fact"] / 2000 == pytest.approx(0.2, abs=0.04)


def test_every_answer_to_a_request_is_grammatical():
    asked = [exchange for exchange in islice(corpus.exchanges(0), 500) if kind(exchange) != "fact"]
    assert all(oracles.grammatical(exchange.request, exchange.answer) for exchange in asked)


def test_documents_hold_no_chat():
    assert not any("<" in document for document in islice(corpus.documents(0), 500))
