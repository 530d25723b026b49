"""What a run asks of its data: the length limit, what becomes of rows with a problem, and what the method reads."""

from typing import Literal

from pydantic import Field, PositiveInt

from ..settings import Settings
from .comparisons import Pairing, Ties
from .tokens import Ends


class Needs(Settings):
    """What an objective reads of each row."""

    candidates: tuple[int, int | None] = (2, 2)  # fewest and most responses per prompt; None: no limit
    rewards: bool = False  # whether it reads scores
    differences: bool = False  # whether their differences are all that it reads: a pair's `margin` will do
    demonstrations: bool = False  # whether rows with one answer are demonstrations beside pairs; both must be there
    columns: tuple[str, ...] = ()  # names of further numbers that every row must have
    ends: Ends | None = None  # how a model that scores whole answers reads them; none: token by token
    given: str = ""  # the flag whose rows are read to measure by, for messages; empty: a method trains on them
    degraded: tuple[float, ...] = ()  # shares of an answer's key phrases that worse versions of it lack, growing

    @property
    def unpaired(self) -> bool:
        """Whether pairs reach it as single answers with a label (KTO)."""
        return self.candidates[1] == 1 and "label" in self.columns


class DataSettings(Settings):
    """How rows become what a method trains on. The fields are those of `Run`, but for `needs` and `eos`."""

    needs: Needs = Field(default_factory=Needs)
    max_length: PositiveInt = 2048  # tokens of prompt and one response together
    too_long: Literal["stop", "drop", "truncate"] = "stop"
    on_problem: Literal["stop", "drop", "keep"] = "stop"
    max_problem_share: float = Field(0.1, ge=0, le=1)
    ties: Ties = "drop"
    pairing: Pairing = "none"
    columns: dict[str, str] = Field(default_factory=dict[str, str])  # role to column
    chat_template: str | None = None  # Jinja text in place of the tokenizer's own
    eos: bool = True  # end plain-text answers with the tokenizer's EOS; a chat template ends its own
    refuse: bool = True  # False: rows that would stop a run are counted and left out, to look at the rest
