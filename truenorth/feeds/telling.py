"""What a round of a run tells of itself before its first step: logged in metrics.jsonl with the split "round"."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..data.chat import Encoder
from ..methods.mpo import MPO, MPORT
from ..models.modes import evaluating
from ..online.distances import Scores, distances, log_ratios
from ..online.round_file import RoundFile
from ..online.round_measures import measures_of
from ..online.round_steps import tokenized
from ..online.rounds import COMPARED, Play
from ..session import Session


@dataclass(frozen=True, slots=True)
class Telling:
    """What rounds are told of with."""

    session: Session
    play: Play
    encoder: Encoder
    per_round: int  # steps
    start: Scores | None = None  # the run's first policy, where keeping it costs nothing

    def __call__(self, number: int) -> Mapping[str, float]:
        """Metrics of round `number`, 0-based, whose rows are there: `measures_of`, and from the second round on

        wins/initial, /previous, /magnet  P(an answer beats one of the first round, of the one before, of that in which
                                          the magnet was the policy), as the judge says
        kl/NAME, exploitability           see `online.distances`: to what the policy was trained against, and to
                                          `start` as `initial` where no reference is called so

        References have not moved yet since the round before. Costs, for each of the wins, a verdict on two answers to
        each of 64 prompts, and a pass over 64 prompts' answers for policy and references. One process speaks, and asks
        the judge; others get nothing.
        """
        if not self.play.group.first:
            return {}
        found = measures_of(self.play.folder, number)
        if number == 0:  # the policy is all that it could be compared with
            return found
        earlier = {"wins/initial": 0, "wins/previous": number - 1, "wins/magnet": self.round_of_magnet(number)}
        wins = {name: self.play.wins_against(number, of) for name, of in earlier.items() if of is not None}
        return found | {name: value for name, value in wins.items() if value is not None} | self._distances(number)

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
        file, schedule = RoundFile.open(self.play.folder / f"{number + 1:04}"), self.play.schedule
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
