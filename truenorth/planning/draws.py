"""What a round takes before its steps: the memory and the time of drawing its answers, and of asking a judge.

Time is counted as if no answer ended early. One more token of all answers that are drawn together costs the starts of
kernels, layer by layer, the reading of weights, keys and values, and the products, one after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..evaluate.plan import REACHED
from ..evaluate.plan_memory import Memory, Question
from ..evaluate.plan_rounds import RoundsPlan
from ..feeds import Played
from ..models.logprobs import base_of
from ..models.memory import PARTS
from ..online.comparing import COMPARED
from ..online.draw_cost import DrawCost, DrawnTogether, draw_cost
from ..online.judge_cost import JudgeCost
from ..online.sampler import batches, capacity
from ..online.sampling import Sampling
from ..schedule import answers_compared

LAUNCHING = 4e-4  # seconds a layer: Python and the starts of kernels, measured on a CPU (docs/plan.md)


@dataclass(frozen=True, slots=True)
class _Draws:
    """Answers of the policy, or of its mixture with another model, in one process."""

    batches: Sequence[DrawnTogether]
    largest: DrawnTogether
    cost: DrawCost  # of the largest
    models: int  # that a token is drawn from
    tokens: int  # most of an answer

    def seconds(self, asked: Question, layers: int) -> float:
        """Of all batches. The machine's rate and bandwidth must be known."""
        sharing = 1 if asked.machine.gpu else asked.count
        rate, bandwidth = REACHED * asked.machine.rate / sharing, asked.machine.bandwidth / sharing
        total = 0.0
        for batch in self.batches:
            share = batch.answers / self.largest.answers
            read = batch.prompts * batch.longest / (self.largest.prompts * self.largest.longest)
            moved = (self.cost.weights + share * self.cost.moved) / bandwidth
            token = self.models * layers * LAUNCHING + moved + share * self.cost.drawing / rate
            total += read * self.cost.reading / rate + self.tokens * token
        return total


def rounds_plan(asked: Question, feed: Played, judge: JudgeCost) -> RoundsPlan:
    """The rounds of a run, and what each process holds while it draws. Raises ModelError as a plan does."""
    schedule, run, opponent = feed.schedule, asked.run, feed.recipe.objective.opponent
    there_are = range(len(feed.contents.prompts))
    prompts = round(feed.count * float(np.mean([feed.contents.draws(0, place) for place in there_are])))
    questions = feed.count * judge.questions(answers_compared(feed.recipe.objective, schedule))
    found = RoundsPlan(
        rounds=schedule.rounds,
        steps=feed.per_round,
        answers=prompts * (schedule.k + (opponent.answers if opponent else 0)),
        tokens=schedule.max_new_tokens,
        at_once=0,
        cache=0,
        parts={},
        fits=True,
        seconds=None,
        drawn_by="" if run.sampler is None else run.sampler.server.url,
        judge="" if run.judge is None else str(run.judge),
        questions=questions if asked.recipe.asks_a_judge else 0,
        judging=_judging(asked, feed, judge, questions),
        comparisons=_comparisons(asked, feed, judge),
    )
    if run.sampler is not None or not prompts:
        return found
    memory = Memory(asked)
    draws = list(_draws(feed, memory, -(-prompts // asked.count)))
    known = [one for one in draws if one is not None]
    return _held(found, asked, memory, known) if len(known) == len(draws) else found


def _draws(feed: Played, memory: Memory, prompts: int) -> Iterator[_Draws | None]:
    """What one process draws to so many prompts, the longest among them; None: its cost is not known."""
    schedule, opponent = feed.schedule, feed.recipe.objective.opponent
    lengths = np.sort(feed.rows.rows.prompt_lengths)[::-1]
    lengths = lengths[np.linspace(0, len(lengths) - 1, prompts).round().astype(int)].tolist()
    for models, k in ((1, schedule.k), (2, opponent.answers if opponent else 0)):
        if not k:
            continue
        sampling = Sampling(
            k=k, max_new_tokens=schedule.max_new_tokens, temperature=schedule.temperature, top_p=schedule.top_p
        )
        most = capacity(base_of(memory.rehearsal.model)) // models
        together = [_sizes(batch, lengths) for batch in batches(lengths, sampling, most=most)]
        largest = max(together, key=lambda sizes: sizes.answers * (sizes.longest + sampling.max_new_tokens))
        cost = draw_cost(memory.rehearsal, largest, sampling, models=models)
        yield cost and _Draws(together, largest, cost, models, sampling.max_new_tokens)


def _sizes(batch: Sequence[tuple[int, int]], lengths: Sequence[int]) -> DrawnTogether:
    """Of a batch of answers, each a prompt's place and its own among the prompt's."""
    asked = {prompt for prompt, _ in batch}
    return DrawnTogether(len(asked), len(batch), max(lengths[prompt] for prompt in asked))


def _held(found: RoundsPlan, asked: Question, memory: Memory, draws: Sequence[_Draws]) -> RoundsPlan:
    """With the memory of the largest batch, and the time of all of them where the machine is known."""
    largest = max(draws, key=lambda one: sum(one.cost.peak.values()))
    sizes = {**largest.cost.peak, **memory.resident}
    parts = {part: sizes[part] for part in PARTS if sizes.get(part)}
    layers = memory.config.get_text_config().num_hidden_layers
    known = asked.machine.rate and asked.machine.bandwidth
    return replace(
        found,
        at_once=largest.largest.answers,
        cache=largest.cost.cache,
        parts=parts,
        fits=sum(parts.values()) <= asked.limit,
        seconds=sum(one.seconds(asked, layers) for one in draws) if known else None,
    )


def _comparisons(asked: Question, feed: Played, judge: JudgeCost) -> int:
    """Questions of the whole run about a round's answers beside those of the start, the round before and the magnet.

    None of a judge of rewards, which stand in the rows.
    """
    if judge.at_once == 1 or not asked.recipe.asks_a_judge:
        return 0
    most = 2 + ("magnet" in asked.recipe.references)
    earlier = sum(min(number, most) for number in range(feed.schedule.rounds))  # a first round has none before it
    return earlier * min(COMPARED, feed.count) * judge.questions(2)


def _judging(asked: Question, feed: Played, judge: JudgeCost, questions: int) -> float | None:
    """Seconds in which a judge in memory reads its questions; None: not known."""
    if judge.flops is None or not asked.machine.rate:
        return None
    tokens = float(feed.rows.rows.prompt_lengths.mean()) + judge.at_once * feed.schedule.max_new_tokens
    return questions * tokens * judge.flops / (REACHED * asked.machine.rate)
