"""When rows are made while a run goes on: rounds of self-play. What a paper says of them, without torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt, model_validator

from .errors import SettingsError, so_many
from .settings import Settings, setting

if TYPE_CHECKING:
    from .recipe import Objective


@dataclass(frozen=True, slots=True)
class OwnRows:
    """Rows that are partly the policy's own, labels or answers, among those of the data.

    A round draws by seed, round and row which ones they are, and writes it to columns that the objective reads: `own`,
    1 for these and 0 for the others, and `label_draw`, a number in [0, 1) to draw a label with.
    """

    share: float  # of the rows, in [0, 1]
    redrawn: bool  # both answers are drawn from the policy; False: they are the data's
    judged: bool  # and a judge says which is better; False: they stand as they were drawn

    @property
    def asks_a_judge(self) -> bool:
        return self.judged and self.share > 0


class Rounds(Settings):
    """Again and again the policy answers prompts, a judge says how well, and it learns from that.

    What a row compares is either drawn, to the prompts of a file; or the answers of a row of the data, beside which
    the drawn ones stand; or both together. A judge orders what is drawn and compared.

    All answers of a round are drawn before its first step, by the policy as it is then. One optimizer and one learning
    rate schedule go over all rounds. With `prompts: batch` and one epoch a round is one step: answers are drawn anew
    for each.
    """

    rounds: int = setting(3, "rounds of the run", source="ours", ge=1)
    compared: Literal["drawn", "rows", "both"] = setting(
        "drawn", "answers drawn to --prompts, those of the rows of --data, or both together", source="ours"
    )
    prompts: PositiveInt | Literal["all", "batch", "share"] = setting(
        "all",
        "of a round, in turn; batch: a step's; share: all of them in all rounds",
        source="ours",
    )
    epochs: int = setting(1, "passes over the rows of a round", source="ours", ge=1)
    k: int = setting(2, "answers drawn to each prompt", source="ours", ge=1)
    max_new_tokens: int = setting(128, "most tokens of an answer", source="ours", ge=1)
    temperature: float = setting(1.0, "of the draws; 0 takes the likeliest tokens", source="ours", ge=0)
    top_p: float = setting(1.0, "keep the likeliest tokens up to this share; 1: all", source="ours", gt=0, le=1)
    pairing: Literal["best_vs_each", "best_vs_worst", "all_pairs"] = setting(
        "best_vs_worst", "which answers make a pair, for a method of pairs", source="ours"
    )

    @model_validator(mode="after")
    def _answers_differ(self) -> "Rounds":
        if self.temperature == 0 and self.k > 1:
            raise SettingsError(
                f"schedule.temperature is 0, and all {self.k} answers to a prompt would be the same one. Draw one "
                "(--k 1, beside the rows of --data), or take a temperature above 0."
            )
        return self

    @property
    def from_rows(self) -> bool:
        """Whether rounds begin from rows of --data; else from --prompts."""
        return self.compared != "drawn"

    @property
    def judged(self) -> bool:
        """Whether a judge orders what is compared; else the data do."""
        return self.compared != "rows"

    def prompts_of(self, there_are: int, batch_size: int) -> int:
        """How many prompts a round has.

        >>> Rounds(prompts="batch").prompts_of(1000, batch_size=64)
        64
        """
        known = {"all": there_are, "batch": batch_size, "share": -(-there_are // self.rounds)}
        wanted = known.get(str(self.prompts), self.prompts)
        return min(int(wanted), there_are)


def answers_compared(objective: "Objective", schedule: Rounds) -> int:
    """How many answers a row of a round orders, before pairs are made of them."""
    opponent = objective.opponent if objective.sample == "opponent" else None
    drawn = schedule.k + (opponent.answers if opponent else 0)
    return {"drawn": drawn, "rows": 2, "both": 2 + drawn}[schedule.compared]


def refuse_what_rounds_cannot_bring(objective: "Objective", schedule: Rounds) -> None:
    """Raise SettingsError where an objective needs rows that a round does not make, or reads not what it makes."""
    fewest, most = objective.candidates
    if objective.score_head is not None:
        raise SettingsError(
            f"{objective.name} trains a judge, and rounds of self-play train a policy. Train it on the rows of a file."
        )
    _refuse_what_is_drawn_for_nobody(objective, schedule)
    compared = answers_compared(objective, schedule)
    if max(2, fewest) > compared or (most is not None and most < 2):
        raise SettingsError(
            f"{objective.name} takes {so_many(fewest, most, 'answer')} to a prompt, and a round has {compared}, of "
            "which it makes comparisons. Give --k, or train on rows of a file."
        )
    needs = [
        *(f"the column {name}" for name in objective.columns),
        *["degraded answers"] * bool(objective.degree_head),
        *["demonstrations"] * (objective.demonstrations and not objective.completes_demonstrations),
    ]
    if needs:
        raise SettingsError(f"{objective.name} needs {', '.join(needs)}, which rounds of self-play do not make.")
    if schedule.compared == "rows" and (judged := sorted(objective.reads & {"rewards", "wins"})):
        raise SettingsError(
            f"{objective.name} reads {' and '.join(judged)} of a judge, who is not asked about rows of --data. Take "
            "schedule.compared=both."
        )


def _refuse_what_is_drawn_for_nobody(objective: "Objective", schedule: Rounds) -> None:
    """Raise SettingsError where drawn answers do not stand where the objective reads them."""
    name, own, compared = objective.name, objective.own_rows, schedule.compared
    if objective.sample is not None and objective.candidates != (2, 2):
        raise SettingsError(f"{name} reads answers beside those that it compares, and so has to compare pairs.")
    if own is not None and (compared != "rows" or (own.redrawn and schedule.k != 2)):
        raise SettingsError(
            f"{name} mixes the pairs of --data with pairs that are drawn: it needs schedule.compared=rows and two "
            f"answers to a prompt, got schedule.compared={compared} and --k {schedule.k}."
        )
    if objective.completes_demonstrations and (compared != "rows" or schedule.k != 1):
        raise SettingsError(
            f"{name} reads one drawn answer beside each demonstration of --data: it needs schedule.compared=rows and "
            f"--k 1, got schedule.compared={compared} and --k {schedule.k}."
        )
    if compared == "rows" and objective.sample is None and own is None and not objective.completes_demonstrations:
        raise SettingsError(
            f"schedule.compared=rows lets drawn answers stand beside the pairs of --data, and {name} reads none of "
            "them. Take schedule.compared=both, or train on the rows alone, without a schedule."
        )
    if compared == "drawn" and objective.sample == "policy":
        raise SettingsError(
            f"{name} reads an answer of the policy beside a pair of the data. Take schedule.compared=rows or both."
        )
    if compared != "drawn" and objective.opponent is not None:
        raise SettingsError(f"{name} plays against an opponent, and nobody compares its answers with rows of --data.")
