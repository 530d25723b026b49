"""Whether a run's margins stand above the rounding of its precision: what was measured, and a finding."""

from dataclasses import dataclass

from .evidence import Evidence, Finding, percent, short

DROWNED = 1 / 8  # share of the signs that rounding decides: 92 % right then reads as 82 %
DROWNED_FAR = 1 / 4  # and as 71 %; at 1/2 any accuracy reads as 50 %
ABOVE = 4.0  # times the difference: a margin that is typically larger keeps its sign in all but a few pairs


@dataclass(frozen=True, slots=True)
class Rounding:
    """The margins of a few held-out pairs at a run's end, in its own precision and in float32."""

    precision: str
    pairs: int
    margin: float  # median of |margin| in float32
    difference: float  # median of |margin in `precision` - margin in float32|
    changed: int  # pairs whose margin has another sign than in float32, or is 0 where that is not
    right: float  # share of the pairs with a margin above 0; even ones count half
    right_in_float32: float

    @property
    def drowned(self) -> bool:
        """Whether so many signs are rounding that an accuracy does not tell what was learnt."""
        near = self.changed > 0 and self.margin < ABOVE * self.difference
        return near or self.changed > DROWNED * self.pairs

    @property
    def said(self) -> str:
        """What becomes of an accuracy then, in a few words."""
        return f"margins are within {self.precision}'s rounding"


def drowned(rounding: Rounding | None, evidence: Evidence) -> Finding | None:
    """Fires where the signs of margins, which the accuracy counts, are to a good part rounding."""
    if rounding is None or not rounding.drowned:
        return None
    by = rounding.precision
    far = rounding.changed > DROWNED_FAR * rounding.pairs
    sentence = (
        f"On {rounding.pairs} held-out pairs a margin is typically {short(rounding.margin)} in float32, and off by "
        f"{short(rounding.difference)} in {by} (medians). The sign of {rounding.changed} is another there: float32 "
        f"ranks {percent(rounding.right_in_float32)} of the {rounding.pairs} right, {by} {percent(rounding.right)}. "
        f"So the accuracies of this run say {'nothing' if far else 'little'}."
    )
    setting = (
        f"--precision float32, or {evidence.higher_rate()}, or {evidence.longer}, or `truenorth evaluate`, which "
        "measures this model in float32 on a processor"
    )
    return Finding("problem" if far else "watch", drowned_title(by), sentence, setting)


def drowned_title(precision: str) -> str:
    return f"Margins are within {precision}'s rounding"
