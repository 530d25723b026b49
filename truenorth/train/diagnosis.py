"""What the metrics say about a run, in plain sentences, each with the setting to turn.

Pure functions from logged records to findings, for the log while it runs and for the report afterwards. Thresholds are
ours unless a source is named; each states its reason.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import stability
from .advice import settled
from .chase_findings import chased
from .evidence import NOISE, Evidence, Finding, percent, short, smooth
from .modules import by_module, together
from .rounding import Rounding, drowned

LEAST_STEPS = 10  # logged steps, below which two windows overlap and nothing is a trend

DISPLACED = 0.1  # nats per token off the chosen response: each token a tenth less likely; less is usual for DPO
COLLAPSED = 0.5  # nats per token: each token at 0.6 of its probability; text then visibly degrades
DISPLACED_LEAST = 1.0  # nats: short responses move by a fraction of a nat from batch to batch
TOGETHER = 0.7  # a chosen response that falls this share of the rejected one's fall: the pair goes down as one
ASSUMED_LENGTH = 100.0  # tokens of a response, where lengths were not logged

FAR = 0.25  # nats of KL per token; published DPO and PPO runs end below
TOO_FAR = 0.75
FAR_LEAST = 10.0  # nats: the KL of choosing the best of about 60,000 samples
TOO_FAR_LEAST = 25.0
UNMOVED = 0.02  # nats: the two models' probabilities differ by about a fifth, once in a whole response

SATURATED_ACCURACY = 0.98
SATURATED_LOSS = 0.05  # share of the first loss
SATURATED_BY = 0.7  # of the run: later than this, it is the end of a run of the right length
SATURATED_EARLY = 0.35

LONGER = 1.25  # chosen over rejected length: a reader notices a quarter more text, and so does the loss
DRIFT = 1.3  # length at the end over length at the start, or its inverse
DRIFT_SEVERE = 2.0

LAGS = 0.1  # training accuracy above held-out accuracy
LAGS_FAR = 0.2
PAST_PEAK = 0.05  # held-out accuracy below its own best
CALIBRATION = ("calibration_error", "confidence", "accuracies")
MISCALIBRATED = 0.07  # mean distance of sure from right: a few hundred pairs in ten bins show half of it by chance
MISCALIBRATED_FAR = 0.15
CHANCE_MOST = 0.6  # an accuracy above this is read as learning even where few rows leave the interval wide


def diagnose(whole: Evidence, *, moving: bool = False, rounding: Rounding | None = None) -> list[Finding]:
    """The findings on a run, problems first, from the lines of its metrics.jsonl, of training and evaluation.

    A metric that was not logged is not judged, and where the reference is `moving`, nor is how far the policy has
    come: then metrics tell it since the last moves. Accuracies are not judged where, by `rounding`, the signs of
    margins are rounding. Of two modules each is judged.
    """
    parts = [replace(whole, records=part) for part in by_module(whole.records)]
    each = [_of_module(part, moving, rounding) for part in parts]
    found = each[0] if len(each) == 1 else together(*each)
    if len(whole.train("loss")) >= LEAST_STEPS and (chase := chased(whole)):
        found.append(chase)
    return settled(found)


def _of_module(evidence: Evidence, moving: bool, rounding: Rounding | None) -> list[Finding]:
    if broken := stability.finite(evidence):
        return [broken]
    rounded = [finding] if (finding := drowned(rounding, evidence)) else []
    logged = len(evidence.train("loss"))
    if logged < LEAST_STEPS:
        sentence = f"{logged} logged steps show no trend; {LEAST_STEPS} are the least that do."
        short_run = Finding("watch", "Too short to judge", sentence, f"{evidence.longer}, or a smaller --batch-size")
        return [*rounded, short_run]
    left_out = OF_THE_WAY * moving + OF_SIGNS * bool(rounded)
    checks = [check for check in CHECKS if check not in left_out]
    found = rounded + [finding for check in checks if (finding := check(evidence))]
    if any(finding.title == UNMOVED_TITLE for finding in found):  # one cause, one finding
        found = [finding for finding in found if finding.title != "The loss does not move"]
    return found


def displacement(evidence: Evidence) -> Finding | None:
    """Whether chosen responses themselves became less likely (Razin et al. 2024, arXiv:2410.08847)."""
    chosen, rejected = evidence.change("logps/chosen"), evidence.change("logps/rejected")
    if chosen is None or rejected is None:
        return None
    length = _length(evidence)
    fall, per_token = -chosen.by, -chosen.by / length
    moved = (
        f"The log-probability of chosen responses went from {short(chosen.start)} to {short(chosen.end)} nats "
        f"({short(-per_token)} per token), of rejected ones from {short(rejected.start)} to {short(rejected.end)}."
    )
    if not chosen.clear or per_token < DISPLACED or fall < DISPLACED_LEAST:
        mild = chosen.clear and fall > 0
        usual = " A fall this small is usual: the loss sees only the difference." if mild else ""
        return Finding("good", "Chosen responses stay likely", moved + usual)
    level = "problem" if per_token >= COLLAPSED else "watch"
    setting = f"{evidence.lower_rate()}{evidence.higher_beta()}, or a method with a likelihood term on the chosen"
    if rejected.by < 0 and fall > TOGETHER * -rejected.by:
        where = " Both fall together: their probability goes to responses that are in no row."
        return Finding(level, "Chosen and rejected fall together", moved + where, setting)
    usual = " Some fall is usual, this is more." if level == "watch" else " Samples are likely to be broken."
    return Finding(level, "Displacement: chosen responses fall", moved + usual, setting)


UNMOVED_TITLE = "The policy has hardly moved"


def divergence(evidence: Evidence) -> Finding | None:
    """Whether the distance from the reference is in the range of runs that end well.

    `kl/sampled` is KL(policy ‖ reference) on the policy's own samples. Without it, `kl/initial` tells how far the
    log-probabilities of the rows' responses drifted; that can be negative, and near 0 for a policy that moved.
    """
    sampled, drift = evidence.held_out("kl/sampled").values, evidence.change("kl/initial")
    length = _length(evidence)
    if sampled:
        distance = sampled[-1]
        said = f"KL(policy ‖ reference) is {short(distance)} nats per response, {short(distance / length)} per token"
    elif drift is not None:
        distance, way = abs(drift.end), "above" if drift.end > 0 else "below"
        said = (
            f"The policy's log-probability of the rows' responses is on average {short(distance)} nats {way} the "
            f"reference's, {short(distance / length)} per token"
        )
    else:
        return None
    if distance < UNMOVED and (sampled or _gap(evidence) < UNMOVED):
        setting = f"{evidence.higher_rate()}, or {evidence.longer}"
        return Finding("watch", UNMOVED_TITLE, f"{said}: samples before and after will be the same.", setting)
    if distance < max(FAR_LEAST, FAR * length):
        return Finding("good", "Near enough to the reference", f"{said}.")
    severe = distance >= max(TOO_FAR_LEAST, TOO_FAR * length)
    cost = f". Choosing the best of {_best_of(distance)} samples would cost as much" if sampled else ""
    setting = f"{evidence.lower_rate()}{evidence.higher_beta()}, or {evidence.shorter}"
    return Finding("problem" if severe else "watch", "Far from the reference", f"{said}{cost}.", setting)


def saturation(evidence: Evidence) -> Finding | None:
    """Whether nearly all pairs were told apart long before the end, so that no gradient was left."""
    loss, accuracy = evidence.train("loss"), evidence.train("rewards/accuracies")
    change = evidence.train_change("loss")
    if change is None or change.start <= 0 or loss.steps != accuracy.steps:
        return None
    window = max(5, len(loss) // 10)
    pairs = zip(loss.steps, smooth(loss.values, window), smooth(accuracy.values, window), strict=True)
    done = [a >= SATURATED_ACCURACY and v <= SATURATED_LOSS * change.start for _, v, a in pairs]
    fine = Finding("good", "Not saturated", f"The loss went from {short(change.start)} to {short(change.end)}.")
    if not done[-1]:
        return fine
    since = loss.steps[max((i + 1 for i, d in enumerate(done) if not d), default=0)]
    share = since / evidence.last_step
    if share > SATURATED_BY:
        return fine
    return Finding(
        "problem" if share < SATURATED_EARLY else "watch",
        "Margins are saturated",
        f"Since step {since} of {evidence.last_step} nearly every pair is told apart and the loss is below "
        f"{percent(SATURATED_LOSS)} of its first value: the rest of the run had almost no gradient and could only "
        "memorize.",
        f"{evidence.ended_at(math.ceil(1.2 * since))}, or {evidence.lower_rate()}",
    )


def lengths(evidence: Evidence) -> Finding | None:
    """Whether responses grow or shrink while training, and whether longer simply means better in the data."""
    name = "lengths/sampled" if len(evidence.train("lengths/sampled")) else "lengths/chosen"
    change = evidence.change(name)
    if change is None or change.start <= 0 or change.end <= 0:
        return None
    times = max(change.by / change.start + 1, change.start / change.end)
    if change.clear and times >= DRIFT:
        what = "sampled" if name == "lengths/sampled" else "chosen"
        return Finding(
            "problem" if times >= DRIFT_SEVERE else "watch",
            "Length drift",
            f"The {what} responses went from {change.start:.0f} to {change.end:.0f} tokens during the run.",
            "a length-normalized method (`truenorth methods`); if the rows are sorted by length, shuffle them",
        )
    chosen, rejected = (_mean(evidence.train(f"lengths/{which}").values) for which in ("chosen", "rejected"))
    if rejected and chosen / rejected >= LONGER:
        return Finding(
            "watch",
            "Longer means better in these rows",
            f"Chosen responses have {chosen:.0f} tokens, rejected ones {rejected:.0f}: the policy can lower the loss "
            "by being long.",
            f"a length-normalized method (`truenorth methods`), or {evidence.balance}",
        )
    besides = f", rejected ones {rejected:.0f}" if rejected else ""
    return Finding("good", "Lengths are steady", f"Chosen responses have {chosen:.0f} tokens{besides}.")


def accuracy(evidence: Evidence) -> Finding | None:
    """Whether the policy ranks pairs as the data do, better than a coin."""
    held_out = evidence.held_out("rewards/accuracies")
    low, high = evidence.held_out("rewards/accuracies/low"), evidence.held_out("rewards/accuracies/high")
    change = evidence.train_change("rewards/accuracies")
    if len(held_out) and len(low) and len(high):
        where, value, bounds = "held-out", held_out.values[-1], (low.values[-1], high.values[-1])
    elif change is not None:
        where, value, bounds = "training", change.end, (change.end - 2 * change.error, change.end + 2 * change.error)
    else:
        return None
    said = f"The model prefers the chosen response in {percent(value)} of the {where} pairs"
    interval = f"(95\u202f%: {percent(bounds[0])} to {percent(bounds[1])})"
    if bounds[1] < 0.5:
        sentence = f"{said} {interval}, less often than a coin would: chosen and rejected may be reversed."
        setting = "--columns chosen=rejected rejected=chosen, after a look with `truenorth inspect`"
        return Finding("problem", "Below chance: are the labels reversed?", sentence, setting)
    if bounds[0] <= 0.5 and value < CHANCE_MOST:
        sentence = f"{said} {interval}: this cannot be told from chance."
        setting = f"{evidence.higher_rate()}, or {evidence.longer}, or more held-out rows for a narrower interval"
        return Finding("watch", "Accuracy at chance", sentence, setting)
    return Finding("good", "Better than chance", f"{said} {interval}.")


def generalization(evidence: Evidence) -> Finding | None:
    """Whether held-out accuracy keeps up with training accuracy, and with its own best."""
    held_out, high = evidence.held_out("rewards/accuracies"), evidence.held_out("rewards/accuracies/high")
    train = evidence.train_change("rewards/accuracies")
    if train is None or not len(held_out):
        return None
    last, upper = held_out.values[-1], high.values[-1] if len(high) else held_out.values[-1]
    best = max(held_out.values)
    setting = f"{evidence.shorter}, or more rows, or {evidence.lower_rate()}"
    if best - last > PAST_PEAK and upper < best:
        at = held_out.steps[held_out.values.index(best)]
        sentence = f"Held-out accuracy was {percent(best)} at step {at} and is {percent(last)} at the end."
        return Finding(
            "problem", "Past the best checkpoint", sentence, f"{evidence.ended_at(at)}, or {evidence.lower_rate()}"
        )
    said = f"Accuracy is {percent(train.end)} on training pairs and {percent(last)} on held-out ones"
    gap = train.end - last
    if gap > LAGS and train.end - NOISE * train.error > upper:
        level = "problem" if gap > LAGS_FAR else "watch"
        return Finding(level, "Held-out accuracy lags", f"{said}: the run learns rows, not a preference.", setting)
    return Finding("good", "What is learnt carries over", f"{said}.")


def calibration(evidence: Evidence) -> Finding | None:
    """Of a judge that is trained: whether it is right as often as it is sure, on held-out pairs."""
    error, sure, right = (evidence.held_out(f"judge/{name}").values for name in CALIBRATION)
    if not error or not sure or not right:
        return None
    said = (
        f"On held-out pairs the judge is {percent(sure[-1])} sure on average and right in {percent(right[-1])}; the "
        f"calibration error is {percent(error[-1])}."
    )
    if error[-1] <= MISCALIBRATED:
        return Finding("good", "Sure as often as right", said)
    level = "problem" if error[-1] >= MISCALIBRATED_FAR else "watch"
    if sure[-1] > right[-1]:
        setting = f"{evidence.shorter}, or more rows, or {evidence.lower_rate()}"
        return Finding(level, "The judge is too sure of itself", said, setting)
    return Finding(
        level, "The judge is less sure than it could be", said, f"{evidence.longer}, or {evidence.higher_rate()}"
    )


CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    stability.learning_rate,
    stability.clipping,
    accuracy,
    generalization,
    displacement,
    divergence,
    saturation,
    lengths,
    calibration,
    stability.stuck,
)
OF_SIGNS = (accuracy, generalization)
OF_THE_WAY = (accuracy, generalization, divergence, stability.stuck)  # from the start, which a moving reference leaves


def _length(evidence: Evidence) -> float:
    return _mean(evidence.train("lengths/chosen").values) or ASSUMED_LENGTH


def _gap(evidence: Evidence) -> float:
    """Nats that the margin moved by; infinite where beta or the margin is unknown."""
    margin = evidence.change("rewards/margins")
    return abs(margin.by) / evidence.beta if margin and evidence.beta else math.inf


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _best_of(kl: float) -> str:
    """Samples of which the best costs `kl` nats: KL = log n - (n - 1) / n, so n is about e^(KL + 1)."""
    exact = math.exp(min(kl, 50.0) + 1)
    return f"{exact:,.0f}" if exact < 1e3 else f"{float(f'{exact:.1g}'):,.0f}" if exact < 1e7 else "many millions of"
