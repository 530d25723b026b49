"""What alignment may cost: facts, other tasks that SFT taught, and the text of pre-training."""

import itertools
import random
from collections.abc import Callable, Sequence

import torch
from drawn import prompts
from measured import Measure
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from truenorth import world
from truenorth.models.logprobs import Model
from truenorth.models.score import score
from truenorth.online.sampler import generate
from truenorth.online.sampling import Sampling
from truenorth.world import corpus, letter, tale

SEED = 987  # of held-out text, none of the world's own
AT_ONCE = 32  # documents
CONTEXT = 256  # tokens
GREEDY = Sampling(max_new_tokens=24, temperature=0.0)
Prompted = list[dict[str, object]]  # rows {prompt, responses[1]}


class Abilities:
    """What a policy is asked besides the reviews that it is aligned on: the same for every policy."""

    def __init__(self, *, requests: int = 128, texts: int = 96) -> None:
        self.reviews = Measure(prompts("test")[:requests], answers=2, seed=200)
        self.facts = world.fact_questions()
        self.questions = [_row(fact.question, fact.answer) for fact in self.facts]
        self.others = other_tasks(texts)
        tokenizer = self.reviews.tokenizer
        written = itertools.islice(corpus.documents(SEED), texts)
        self.documents = [
            torch.tensor([tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]])[:CONTEXT]
            for text in written
        ]

    @torch.no_grad()
    def of(self, model: Model) -> dict[str, float]:
        """Reward and KL as `Measure` has them; nats are per token, of texts that the grammar made.

        facts   share of 240 questions that greedy answers get right
        right   mean probability of the right answer: what answers drawn at temperature 1 get right on average
        sft     letters and tales that were asked for
        base    documents
        """
        answers = generate(
            model, self.reviews.tokenizer, prompts=[row["prompt"] for row in self.questions], sampling=GREEDY
        )
        known = score(model, self.reviews.tokenizer, self.questions).total
        others = score(model, self.reviews.tokenizer, self.others)
        return self.reviews.policy(model) | {
            "facts": world.fact_accuracy(self.facts, [drawn[0].text for drawn in answers]),
            "right": float(known.double().exp().mean()),
            "sft": float(others.total.sum() / others.length.sum()),
            "base": document_nats(model, self.documents),
        }


def other_tasks(count: int) -> Prompted:
    """Requests for letters and tales in turn, each with an answer of the grammar's: what SFT taught beside reviews."""
    rng, rows = random.Random(SEED), Prompted()
    makers: Sequence[Callable[[], tuple[str, str]]] = (lambda: _letter(rng), lambda: _tale(rng))
    for i in range(count):
        rows.append(_row(*makers[i % 2]()))
    return rows


def _letter(rng: random.Random) -> tuple[str, str]:
    about = rng.choice(letter.SUBJECTS)
    return letter.make_request(rng, [about]), letter.make_letter(rng, about)


def _tale(rng: random.Random) -> tuple[str, str]:
    hero = rng.choice(tale.HEROES)
    return tale.make_request(rng, [hero]), tale.make_tale(rng, hero)


def _row(request: str, answer: str) -> dict[str, object]:
    return {"prompt": [{"role": "user", "content": request}], "responses": [answer]}


@torch.no_grad()
def document_nats(model: Model, documents: Sequence[Tensor]) -> float:
    """Mean log-prob of a token of the documents after its first, in nats; `documents` are token ids."""
    total, count = 0.0, 0
    for start in range(0, len(documents), AT_ONCE):
        some = documents[start : start + AT_ONCE]
        rows = pad_sequence(list(some), batch_first=True)
        logs = model(input_ids=rows).logits[:, :-1].log_softmax(-1).gather(2, rows[:, 1:, None])[..., 0]
        real = torch.arange(1, rows.shape[1]) < torch.tensor([[len(document)] for document in some])
        total, count = total + float(logs[real].double().sum()), count + int(real.sum())
    return total / count
