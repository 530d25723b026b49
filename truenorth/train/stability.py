"""Whether the optimization itself is sound: finite, falling, without bursts, and moving at all."""

import math
import statistics
from collections.abc import Sequence

from .evidence import Evidence, Finding, number, percent

RISE = 0.1  # share of the first loss: a loss that ends this much higher has diverged
SPIKE = 3.0  # times the median of the steps before it; batches differ by less
SPIKE_OVER_START = 1.2  # and above the untrained loss, since small late losses triple by chance
BURST = 10.0  # times the median gradient norm of the steps before it
RECENT = 15  # steps before, of which that median is taken
OFTEN = 0.02  # share of the steps that makes bursts a habit; one bad row is none
OFTEN_LEAST = 3
CLIPPED_SHARE = 0.95  # of the steps: the clip, not the gradient, sets the size of nearly every update
CLIPPED_TIMES = 10.0  # and the typical norm is far above the clip; just above it is the usual state of DPO
STUCK = 0.01  # share of the first loss: less movement than this over a run is none


def finite(evidence: Evidence) -> Finding | None:
    """Fires on a loss or gradient norm that is NaN or infinite."""
    for record in evidence.records:
        for name in ("loss", "grad_norm"):
            if name in record and not math.isfinite(number(record[name])):
                return Finding(
                    "problem",
                    "A number that is not finite",
                    f"{name} is {record[name]} at step {record.get('step')} ({record.get('split', 'train')}).",
                    f"--precision float32, or {evidence.lower_rate()}",
                )
    return None


def learning_rate(evidence: Evidence) -> Finding | None:
    """Fires on a loss that ends above its start, on repeated spikes of it, and on bursts of the gradient norm."""
    loss = evidence.train_change("loss")
    if loss is None:
        return None
    values = evidence.train("loss").values
    spikes = sum(
        value > SPIKE * before and value > SPIKE_OVER_START * loss.start for value, before in _with_median(values)
    )
    norms = evidence.train("grad_norm").values
    bursts = sum(norm > BURST * before for norm, before in _with_median(norms))
    signs: list[str] = []
    if loss.clear and loss.start > 0 and loss.by > RISE * loss.start:
        signs.append(f"the loss rose from {loss.start:.3g} to {loss.end:.3g}")
    if _often(spikes, len(values)):
        signs.append(f"the loss jumped above {SPIKE:.0f} times its recent value at {spikes} of {len(values)} steps")
    if _often(bursts, len(norms)):
        signs.append(f"the gradient norm burst to {BURST:.0f} times its recent value at {bursts} steps")
    if not signs:
        return Finding("good", "The steps are steady", "No jumps of the loss, no bursts of the gradient norm.")
    worst = "rose" in signs[0] or len(signs) > 1
    sentence = f"{'; '.join(signs)}. Steps this large undo what earlier ones learnt."
    setting = f"{evidence.lower_rate()}, or a longer warm-up (update.warmup_share)"
    return Finding("problem" if worst else "watch", "Learning rate too high", _sentence(sentence), setting)


def clipping(evidence: Evidence) -> Finding | None:
    """Fires where nearly every gradient is clipped, and far above the clip."""
    norms, clip = evidence.train("grad_norm").values, evidence.max_grad_norm
    if clip is None or not norms:
        return None
    share = sum(norm > clip for norm in norms) / len(norms)
    typical = statistics.median(norms)
    if share < CLIPPED_SHARE or typical < CLIPPED_TIMES * clip:
        return None
    return Finding(
        "watch",
        "Every gradient is clipped",
        f"The gradient was clipped in {percent(share)} of the steps: its norm is typically {typical:.3g}, the clip "
        f"{clip:.3g}. Every batch then weighs the same, however much it has to say.",
        f"--set update.max_grad_norm={typical:.2g}, with {evidence.lower_rate()}",
    )


def stuck(evidence: Evidence) -> Finding | None:
    """Fires where the loss ends where it began."""
    loss = evidence.train_change("loss")
    if loss is None or abs(loss.by) > STUCK * abs(loss.start):
        return None
    return Finding(
        "watch",
        "The loss does not move",
        f"The loss is {loss.end:.4g} at the end and was {loss.start:.4g} at the start.",
        f"{evidence.higher_rate()}, or {evidence.longer}",
    )


def _with_median(values: Sequence[float]) -> list[tuple[float, float]]:
    """Each value with the median of the steps before it; the first few have too little before them."""
    return [(values[i], statistics.median(values[max(0, i - RECENT) : i])) for i in range(5, len(values))]


def _often(count: int, total: int) -> bool:
    return count >= max(OFTEN_LEAST, OFTEN * total)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
