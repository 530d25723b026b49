"""Settings of a run whose rows come while it trains. Without torch."""

from pathlib import Path

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator

from .settings import Settings


class Stream(Settings):
    """Where rows come from, how long they are waited for, and what the regret is estimated from.

    The regret compares the run with the best fixed module in hindsight. Those that are tried are snapshots of the
    trained parameters: one every `snapshot_every` steps, at most `snapshots` of them, so that the distance between
    them doubles whenever there would be more.
    """

    path: str = Field(description="a JSONL file that grows, or - for standard input")
    idle_seconds: NonNegativeFloat | None = Field(
        default=60.0, description="a file has ended when no line came for so long; none: it never has"
    )
    snapshot_every: PositiveInt = Field(default=10, description="steps between snapshots, at first")
    snapshots: NonNegativeInt = Field(
        default=8, description="snapshots kept, each as large as what is trained; 0: none"
    )
    regret_steps: PositiveInt | None = Field(
        default=32, description="steps whose rows score the snapshots, drawn by the seed; none: all"
    )

    @field_validator("path")
    @classmethod
    def _of_home(cls, value: str) -> str:
        return str(Path(value).expanduser()) if value.startswith("~") else value
