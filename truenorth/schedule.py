"""When rows are made while a run goes on: rounds of self-play. What a paper says of them, without torch."""

from typing import Literal

from pydantic import PositiveInt

from .settings import Settings, setting


class Rounds(Settings):
    """Again and again the policy answers prompts, a judge says how well, and it learns from that.

    All answers of a round are drawn before its first step, by the policy as it is then. One optimizer and one learning
    rate schedule go over all rounds. With `prompts: batch` and one epoch a round is one step: answers are drawn anew
    for each.
    """

    rounds: int = setting(3, "rounds of the run", source="ours", ge=1)
    prompts: PositiveInt | Literal["all", "batch"] = setting(
        "all", "prompts of a round, taken in turn; batch: as many as a step has", source="ours"
    )
    epochs: int = setting(1, "passes over the rows of a round", source="ours", ge=1)
    k: int = setting(2, "answers drawn to each prompt", source="ours", ge=2)
    max_new_tokens: int = setting(128, "most tokens of an answer", source="ours", ge=1)
    temperature: float = setting(1.0, "of the draws; 1 is the policy itself", source="ours", gt=0)
    top_p: float = setting(1.0, "keep the likeliest tokens up to this share; 1: all", source="ours", gt=0, le=1)
    pairing: Literal["best_vs_each", "best_vs_worst", "all_pairs"] = setting(
        "best_vs_worst", "which answers make a pair, for a method of pairs", source="ours"
    )

    def prompts_of(self, there_are: int, batch_size: int) -> int:
        """How many prompts a round has.

        >>> Rounds(prompts="batch").prompts_of(1000, batch_size=64)
        64
        """
        wanted = {"all": there_are, "batch": batch_size}.get(str(self.prompts), self.prompts)
        return min(int(wanted), there_are)
