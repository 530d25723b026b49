"""Rounds of self-play: the policy answers prompts, a judge says how well, and both are written as rows."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import SamplerError
from ..judge import Failed, Judge, Rewards, Wins
from ..processes import ALONE, Group
from ..recipe import Opponent
from ..schedule import Rounds
from . import comparing
from .contents import Contents, Draft
from .round_file import Beside, RoundFile, RoundRow, Written, folder_of
from .sampling import Prompt, Response, Sampler, Sampling, total_log_probs

JUDGED_AT_ONCE = 32  # prompts that are judged and written together: what a kill costs


def _has_it(number: int) -> None:
    del number


@dataclass(frozen=True, slots=True)
class Play:
    """What makes the rows of a round: answers of the policy as it is then, judged, in files of the run directory.

    A file that is there already is gone on with, or taken as it is: rows may also be made elsewhere.
    """

    schedule: Rounds
    contents: Contents
    count: int  # prompts of a round
    sampler: Sampler
    judge: Judge | None  # None: no row is judged
    folder: Path  # of all rounds
    seed: int
    answering: Callable[[], AbstractContextManager[object]]  # within it the policy can be asked
    group: Group = ALONE  # processes that each have the whole policy, and share the prompts
    opponent: Opponent | None = None  # whose answers the sampler gives behind the policy's
    hand_over: Callable[[int], None] = _has_it  # before a round's answers are drawn: gives the sampler the policy
    rewards: bool = True  # the judge gives rewards; else it compares two answers

    def round(self, number: int) -> RoundFile:
        """All rows of round `number`, the first being 0, made now as far as they are not there.

        Raises SamplerError where prompts are left without answers, once those of the others are written.
        """
        folder = folder_of(self.folder, number)
        file = RoundFile.open(folder) if self.group.first else RoundFile(folder)
        if not self.group.first_says(file.made_elsewhere):
            mine = self._made(number, self.group.first_says(file.done))
            while made := [group for group in self.group.gather(next(mine, None)) if group is not None]:
                for rows, entry in made if self.group.first else ():
                    file.append(rows, entry)
        self.group.wait()
        return file if self.group.first else RoundFile.open(folder)

    def wins_against(self, number: int, earlier: int) -> list[float]:
        """Of each prompt that both rounds asked, P(an answer of round `number` beats one of round `earlier`).

        As the judge says; none where nobody judges.
        """
        if self.judge is None:
            return []
        rows = comparing.shared(self.folder, number, earlier)
        if self.rewards:
            return comparing.wins_by_rewards(rows)
        return comparing.wins_by_judge(rows, self.judge, folder_of(self.folder, number), earlier)

    def places(self, number: int) -> list[int]:
        """Which prompts round `number` asks: in turn, in a fresh order each time all were asked."""
        wanted, there_are = np.arange(number * self.count, (number + 1) * self.count), len(self.contents.prompts)
        found = list[int]()
        for turn in np.unique(wanted // there_are):
            order = np.random.default_rng([self.seed, int(turn)]).permutation(there_are)
            found += order[wanted[wanted // there_are == turn] % there_are].tolist()
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

        def drafts(answered: Iterable[tuple[int, Sequence[Response]]]) -> list[Draft]:
            return [self.contents.draft(number, place, asked[place], drawn) for place, drawn in answered]

        drawn = [place for place in mine if self.contents.draws(number, asked[place])]
        left = [place for place in mine if place not in done and not self.contents.draws(number, asked[place])]
        for start in range(0, len(left), JUDGED_AT_ONCE):
            yield self._judged(drafts((place, ()) for place in left[start : start + JUDGED_AT_ONCE]), 0.0, made)
        prompts = [self.contents.asked(asked[place]) for place in drawn]
        answers = self._drawn(number, prompts, sampling, [i for i, place in enumerate(drawn) if place in done])
        for group, seconds in self._groups(answers):
            yield self._judged(drafts((drawn[i], responses) for i, responses in group), seconds, made)

    def _drawn(
        self, number: int, prompts: Sequence[Prompt], sampling: Sampling, done: Sequence[int]
    ) -> Iterator[tuple[int, list[Response]]]:
        """Answers as they come, of the policy as it is now."""
        if len(done) == len(prompts):
            return
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
        self, drafts: Sequence[Draft], seconds: float, made: Mapping[str, object]
    ) -> tuple[list[RoundRow], Written]:
        began, rows, left_out = time.perf_counter(), list[RoundRow](), dict[str, str]()
        for draft, verdict in zip(drafts, self._verdicts(drafts), strict=True):
            if isinstance(verdict, Failed):
                left_out[str(draft.place)] = verdict.reason
            else:
                rows.append(
                    replace(_row(draft, verdict, made), opponents=self.opponent.answers if self.opponent else None)
                )
        places = tuple(draft.place for draft in drafts)
        return rows, Written(places, left_out, round(seconds, 3), round(time.perf_counter() - began, 3))

    def _verdicts(self, drafts: Sequence[Draft]) -> Iterator[Rewards | Wins | Failed]:
        """Of each draft, those that are asked about all at once."""
        asked = [draft for draft in drafts if draft.verdict is None]
        answers = [[response.text for response in draft.answers] for draft in asked]
        said = iter(self.judge([draft.prompt for draft in asked], answers) if self.judge and asked else ())
        for draft in drafts:
            yield next(said) if draft.verdict is None else draft.verdict


def _row(draft: Draft, verdict: Rewards | Wins, made: Mapping[str, object]) -> RoundRow:
    of, beside = _known(draft.answers), _known(draft.beside)
    return RoundRow.judged(
        verdict,
        prompt=draft.prompt,
        responses=of.responses,
        place=draft.place,
        tokens=of.tokens,
        ended=of.ended,
        log_probs=total_log_probs(draft.answers),
        given=draft.given or None,
        unjudged=None if draft.verdict is None else True,
        beside=beside if draft.beside else None,
        columns=dict(draft.columns) or None,
        prompt_tokens=draft.prompt_tokens,
        made=made,
    )


def _known(responses: Sequence[Response]) -> Beside:
    return Beside(
        responses=tuple(r.text for r in responses),
        tokens=tuple(r.tokens for r in responses) if all(r.tokens for r in responses) else None,
        ended=tuple(r.ended for r in responses),
    )
