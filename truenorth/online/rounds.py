"""Rounds of self-play: the policy answers prompts, a judge says how well, and both are written as rows."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SamplerError
from ..judge import Asked, Failed, Judge, Rewards
from ..processes import ALONE, Group
from ..recipe import Opponent
from ..schedule import Rounds
from .round_file import RoundFile, RoundRow, Written
from .sampling import Response, Sampler, Sampling, total_log_probs

COMPARED = 64  # prompts whose answers of two rounds are compared
JUDGED_AT_ONCE = 32  # prompts that are judged and written together: what a kill costs


def _has_it(number: int) -> None:
    del number


@dataclass(frozen=True, slots=True)
class Play:
    """What makes the rows of a round: answers of the policy as it is then, judged, in files of the run directory.

    A file that is there already is gone on with, or taken as it is: rows may also be made elsewhere.
    """

    schedule: Rounds
    prompts: Sequence[Asked]
    count: int  # prompts of a round
    sampler: Sampler
    judge: Judge
    folder: Path  # of all rounds
    seed: int
    answering: Callable[[], AbstractContextManager[object]]  # within it the policy can be asked
    group: Group = ALONE  # processes that each have the whole policy, and share the prompts
    opponent: Opponent | None = None  # whose answers the sampler gives behind the policy's
    hand_over: Callable[[int], None] = _has_it  # before a round's answers are drawn: gives the sampler the policy

    def round(self, number: int) -> RoundFile:
        """All rows of round `number`, the first being 0, made now as far as they are not there.

        Raises SamplerError where prompts are left without answers, once those of the others are written.
        """
        folder = self.folder / f"{number + 1:04}"
        file = RoundFile.open(folder) if self.group.first else RoundFile(folder)
        if not self.group.first_says(file.made_elsewhere):
            mine = self._made(number, self.group.first_says(file.done))
            while made := [group for group in self.group.gather(next(mine, None)) if group is not None]:
                for rows, entry in made if self.group.first else ():
                    file.append(rows, entry)
        self.group.wait()
        return file if self.group.first else RoundFile.open(folder)

    def wins_against(self, number: int, earlier: int) -> float | None:
        """P(an answer of round `number` beats one of round `earlier`), as the judge says of prompts that both asked.

        None where there are no such prompts, or the judge says nothing of them. Costs COMPARED questions at most.
        """
        new, old = ({str(row.prompt): row for row in self._file(n).rows()} for n in (number, earlier))
        both = [
            (new[prompt].prompt, [new[prompt].responses[0], old[prompt].responses[0]])
            for prompt in new
            if prompt in old
        ]
        verdicts = self.judge([prompt for prompt, _ in both[:COMPARED]], [pair for _, pair in both[:COMPARED]])
        wins = [v.as_wins() if isinstance(v, Rewards) else v for v in verdicts if not isinstance(v, Failed)]
        return sum(win.wins[0][1] for win in wins) / len(wins) if wins else None

    def _file(self, number: int) -> RoundFile:
        return RoundFile.open(self.folder / f"{number + 1:04}")

    def places(self, number: int) -> list[int]:
        """Which prompts round `number` asks: in turn, in a fresh order each time all were asked."""
        wanted = np.arange(number * self.count, (number + 1) * self.count)
        found = list[int]()
        for turn in np.unique(wanted // len(self.prompts)):
            order = np.random.default_rng([self.seed, int(turn)]).permutation(len(self.prompts))
            found += order[wanted[wanted // len(self.prompts) == turn] % len(self.prompts)].tolist()
        return found

    def _made(self, number: int, done: frozenset[int]) -> Iterator[tuple[list[RoundRow], Written]]:
        """This process's share of the round, group by group."""
        asked = self.places(number)
        mine = list(range(len(asked)))[self.group.rank :: self.group.size]
        if self.sampler.remote:  # which answers many prompts at once: one process asks it
            mine = list(range(len(asked))) if self.group.first else []
        sampling = Sampling(
            k=self.schedule.k + (self.opponent.answers if self.opponent else 0),
            max_new_tokens=self.schedule.max_new_tokens,
            temperature=self.schedule.temperature,
            top_p=self.schedule.top_p,
            seed=self.seed,
        )
        made = {"round": number + 1, **sampling.model_dump(mode="json", exclude_defaults=True), "seed": self.seed}
        made |= {"server": True} if self.sampler.remote else {}
        made |= {"mixture": self.opponent.share} if self.opponent else {}
        prompts = [self.prompts[asked[place]] for place in mine]
        answers = self._drawn(number, prompts, sampling, [i for i, place in enumerate(mine) if place in done])
        for group, seconds in self._groups(answers):
            drawn = [(mine[i], self.prompts[asked[mine[i]]], responses) for i, responses in group]
            yield self._judged(drawn, seconds, made)

    def _drawn(
        self, number: int, prompts: Sequence[Asked], sampling: Sampling, done: Sequence[int]
    ) -> Iterator[tuple[int, list[Response]]]:
        """Answers as they come, of the policy as it is now."""
        if len(done) < len(prompts):
            self.hand_over(number)
        yield from self.sampler.answers(prompts, sampling, round_index=number, done=done)

    def _groups(
        self, answers: Iterator[tuple[int, list[Response]]]
    ) -> Iterator[tuple[list[tuple[int, list[Response]]], float]]:
        """Answers in groups, with the seconds that they took. Where some cannot be had, the others come first."""
        failure, over = None, False
        while not over:
            began, group = time.perf_counter(), list[tuple[int, list[Response]]]()
            with self.answering():
                try:
                    while len(group) < JUDGED_AT_ONCE and not over:
                        if (answer := next(answers, None)) is None:
                            over = True
                        else:
                            group.append(answer)
                except SamplerError as error:
                    failure, over = error, True
            if group:
                yield group, time.perf_counter() - began
        if failure is not None:
            raise failure

    def _judged(
        self, drawn: Sequence[tuple[int, Asked, list[Response]]], seconds: float, made: Mapping[str, object]
    ) -> tuple[list[RoundRow], Written]:
        began, rows, left_out = time.perf_counter(), list[RoundRow](), dict[str, str]()
        verdicts = self.judge([prompt for _, prompt, _ in drawn], [[r.text for r in rs] for *_, rs in drawn])
        for (place, prompt, responses), verdict in zip(drawn, verdicts, strict=True):
            if isinstance(verdict, Failed):
                left_out[str(place)] = verdict.reason
                continue
            rows.append(
                RoundRow.judged(
                    verdict,
                    prompt=prompt,
                    responses=tuple(r.text for r in responses),
                    place=place,
                    tokens=tuple(r.tokens for r in responses) if all(r.tokens for r in responses) else None,
                    ended=tuple(r.ended for r in responses),
                    log_probs=total_log_probs(responses),
                    opponents=self.opponent.answers if self.opponent else None,
                    made=made,
                )
            )
        places = tuple(place for place, *_ in drawn)
        return rows, Written(places, left_out, round(seconds, 3), round(time.perf_counter() - began, 3))
