"""What the metrics say of two modules that chase each other."""

from .chasing import BASE, MARGIN
from .evidence import Evidence, Finding, short
from .modules import ORDER, SECOND

FAR = 10.0  # a mean margin: sigmoid of it is 1 to four digits, and what still grows is the distance from the reference
LEVEL = 1e-3  # share of the larger margin: modules that are this near each other all along are one


def chased(evidence: Evidence) -> Finding | None:
    """Which module is fast and by how much; fires on margins that are far out, and on modules that do not part."""
    fast, gap = evidence.train("chase/fast").values, evidence.train("chase/gap").values
    margins = [evidence.train(f"{player}{MARGIN}").values for player in ("", SECOND)]
    losses = [evidence.train(f"{player}{BASE}").values for player in ("", SECOND)]
    if not fast or not all((*margins, *losses)):
        return None
    lead = int(fast[-1])
    swaps = sum(evidence.train("chase/swapped").values)
    said = (
        f"The {ORDER[lead]} module is in the fast role at the end, with a margin of "
        f"{short(margins[lead][-1])} against {short(margins[1 - lead][-1])} and a loss of {short(losses[lead][-1])} "
        f"against {short(losses[1 - lead][-1])}; the lead has changed {swaps:.0f} time{'' if swaps == 1 else 's'}."
    )
    if max(margin[-1] for margin in margins) > FAR:
        setting = f"--set clamp=10 where it is none, or a smaller alpha, or {evidence.lower_rate()}"
        return Finding("watch", "Both modules' margins are far out", f"{said} Every pair is told apart.", setting)
    if max(map(abs, gap)) < LEVEL * max(abs(margin[-1]) for margin in margins):
        setting = "a smaller chase.speed_ratio"
        return Finding("watch", "The two modules do not part", f"{said} They are one module, trained twice.", setting)
    return Finding("good", "The modules chase each other", said)
