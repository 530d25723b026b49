"""What the losses on memory say of a run over domains, and what to do about it."""

from ..train.evidence import Finding, short
from .continual import Continual, Ratios

TAKEN_BACK = 0.9  # a ratio below it
TRAIN_LESS = "--epochs or --max-steps, fewer of them, or a lower --learning-rate"


def findings(found: Continual) -> list[Finding]:
    """Of the last fit. Of rows that are trained on only what they can tell: they do not show overtraining."""
    fit, told = found.fits[-1], list[Finding]()
    if fit.loss is None or fit.at_zeros is None or fit.at_ones is None:
        return told
    if fit.loss >= fit.at_zeros:
        sentence = f"{_loses(fit)}, and the base alone {short(fit.at_zeros)}."
        told.append(Finding("problem", "The sum is worse on memory than the base", sentence, TRAIN_LESS))
    elif found.memory is None or found.memory.of == "trained":
        return told
    elif found.within == "simplex" and fit.at_ones < fit.loss:
        sentence = f"{_loses(fit)}, and with all of them 1 less: {short(fit.at_ones)}."
        told.append(Finding("watch", "Ratios whose sum is 1 are too small", sentence, "--set domains.within=box"))
    elif found.within == "box" and max(fit.ratios) < TAKEN_BACK:
        sentence = (
            f"{_loses(fit)}, and with all of them 1 more: {short(fit.at_ones)}. Those rows were not trained on: the "
            "adapters have learned their own rows too well, or the domains contradict each other."
        )
        told.append(Finding("watch", "Every adapter is taken back", sentence, TRAIN_LESS))
    return told


def _loses(fit: Ratios) -> str:
    assert fit.loss is not None, "it was fitted"
    return f"On memory the sum loses {short(fit.loss)} nats a prompt with the ratios found"
