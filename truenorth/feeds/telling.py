"""What a round of a run tells of itself before its first step: logged in metrics.jsonl with the split "round"."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ..data.chat import Encoder
from ..evaluate.intervals import difference, paired_difference
from ..evaluate.progress import Watch
from ..methods.mpo import MPO, MPORT
from ..models.modes import evaluating
from ..online.comparing import COMPARED, FEWEST, told
from ..online.distances import Scores, distances, log_ratios
from ..online.left_out import most_frequent
from ..online.round_file import RoundFile, folder_of
from ..online.round_measures import measures_of
from ..online.round_steps import tokenized
from ..online.rounds import Play
from ..session import Session


@dataclass(frozen=True, slots=True)
class Telling:
    """What rounds are told of with."""

    session: Session
    play: Play
    encoder: Encoder
    per_round: int  # steps
    watch: Watch
    start: Scores | None = None  # the run's first policy, where keeping it costs nothing

    def __call__(self, number: int) -> Mapping[str, float | str]:
        """Metrics of round `number`, 0-based, whose rows are there: `measures_of`, `left_out/why` in the words of most
        prompts that were left out, and from the second round on

        rewards/gain                      the judge's mean score of a prompt less that in the first round
        wins/initial, /previous, /magnet  P(an answer beats one of the first round, of the one before, of that in which
                                          the magnet was the policy), as the judge says: see `comparing.told`
        kl/NAME, exploitability           see `online.distances`: to what the policy was trained against, and to
                                          `start` as `initial` where no reference is called so

        References have not moved yet since the round before. Costs, for each of the wins, a verdict on two answers to
        64 prompts of a judge that compares answers, and a pass over 64 prompts' answers for policy and references.
        One process speaks, and asks the judge; others get nothing.
        """
        if not self.play.group.first:
            return {}
        against = {} if number == 0 else self._against_earlier(number)  # of the first round there is nothing earlier
        found = measures_of(self.play.folder, number, rewards=self.play.rewards)
        reasons = RoundFile.open(folder_of(self.play.folder, number)).left_out.values()
        why = {"left_out/why": most_frequent(reasons)[0]} if reasons else {}
        return found | against | (self._distances(number) if number else {}) | why

    def _against_earlier(self, number: int) -> dict[str, float]:
        """How the round does against those before it. A round that was given as a file is compared with none."""
        play = self.play
        if play.judge is None or self._is_given(number):
            return {}
        if not play.rewards:
            self.watch.stage(f"round {number + 1}: comparing with the start and the round before")
        earlier = {"wins/initial": 0, "wins/previous": number - 1, "wins/magnet": self.round_of_magnet(number)}
        found = dict[str, float]()
        for name, of in earlier.items():
            if of is not None and not self._is_given(of):
                found |= told(name, play.wins_against(number, of))
        return found | (gain(play.folder, number) if play.rewards and not self._is_given(0) else {})

    def _is_given(self, number: int) -> bool:
        """Whether round `number` was there as a file: its answers are not known to be the policy's."""
        return RoundFile(folder_of(self.play.folder, number)).made_elsewhere

    def round_of_magnet(self, number: int) -> int | None:
        """The round, 0-based, whose policy was the magnet when the last step before round `number` was taken.

        None where there is no magnet, or it has been the policy of no round: a mean of several, or one amid a round.
        """
        if "magnet" not in self.session.references:
            return None
        if (follower := self.session.player.followers.get("magnet")) is None:  # it stays
            return 0
        moved = (number * self.per_round - 1) // follower.every * follower.every  # steps that were taken by then
        return moved // self.per_round if follower.share == 1 and moved % self.per_round == 0 else None

    def _distances(self, number: int) -> dict[str, float]:
        """Nothing where the answers are not the policy's own: made elsewhere, or from a sharper distribution."""
        file, schedule = RoundFile.open(folder_of(self.play.folder, number)), self.play.schedule
        if file.made_elsewhere or (schedule.temperature, schedule.top_p) != (1, 1):
            return {}
        own = [row.own for row in file.rows()[:COMPARED]]
        most = max((len(row.responses) for row in own), default=0)
        if not most:  # nothing was drawn
            return {}
        alike = [row for row in own if len(row.responses) == most]
        rows, _ = tokenized(alike, self.encoder, pairing="none", ties="keep")
        session, policy, objective = self.session, self.session.policy, self.session.player.objective
        compared = ({} if self.start is None else {"initial": self.start}) | dict(session.references)
        with evaluating(policy.model):
            ratios = log_ratios(rows, policy.log_probs, compared, budget=session.budget)
        return distances(ratios, alpha=objective.alpha if isinstance(objective, MPO | MPORT) else None)


def gain(folder: Path, number: int) -> dict[str, float]:
    """What round `number`, 0-based, has over the first round in the judge's rewards, of all rounds' `folder`.

    rewards/gain, /low, /high         the mean difference, with its 95 % interval
    rewards/gain/count                prompts that both rounds asked; of fewer than FEWEST it is not there, and the
                                      difference is that of means over different prompts
    """
    before, after = (_rewards(folder_of(folder, n)) for n in (0, number))
    if not (before and after):
        return {}
    both = [prompt for prompt in after if prompt in before]
    if len(both) >= FEWEST:
        found = paired_difference([before[prompt] for prompt in both], [after[prompt] for prompt in both], seed=0)
        count = {"rewards/gain/count": float(len(both))}
    else:
        found, count = difference(list(before.values()), list(after.values())), {}
    ends = {"rewards/gain/low": found.low, "rewards/gain/high": found.high}
    return {"rewards/gain": found.value} | (ends if math.isfinite(found.low) else {}) | count


def _rewards(folder: Path) -> dict[str, float]:
    """By prompt the mean reward of the policy's answers that were judged."""
    rows = (row.own for row in RoundFile.open(folder).rows())
    return {str(row.prompt): fmean(row.scores) for row in rows if row.responses and not row.unjudged}
