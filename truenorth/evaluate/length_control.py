"""A win rate at equal lengths, for judges that like long answers.

Idea     Dubois et al. 2024, arXiv:2404.04475 (AlpacaEval-LC): regress the win on the difference of lengths, and read
         the regression where that is nothing
Read     memory
Differs  in the regression: theirs has a term for how hard each instruction is, fitted on many models, and is of one
         annotator; ours has an intercept and one slope, fitted on the matches at hand:

             logit P(we win) = a + b tanh(d / s),   d our length minus theirs,  s the root of the mean of d^2

         with the penalty b^2 / 2 (a slope of 1 is likely, one of 10 is not, where a few matches would give anything).
         The answer is sigmoid(a). Swapping the sides turns it to 1 minus it, and where all d are 0 it is the raw rate.
"""

import numpy as np
import numpy.typing as npt

from .intervals import Interval

Array = npt.NDArray[np.float64]

RESAMPLES = 1000
AT_ONCE = 1_000_000  # numbers of one block of resamples: 8 MB an array
STEPS, LONGEST = 60, 2.0  # Newton steps at most, and how far one may go
CLOSE = 1e-10


def controlled(win: npt.ArrayLike, difference: npt.ArrayLike, prompt: npt.ArrayLike, *, seed: int) -> Interval:
    """The length-controlled win rate of [M] matches of single answers, with its 95 % interval over resampled prompts.

    `difference` is our length minus theirs in any unit, `prompt` numbers the prompts from 0. Each prompt counts the
    same, however many matches it has.
    """
    y, d, places = np.asarray(win, float), np.asarray(difference, float), np.asarray(prompt, int)
    scale = float(np.sqrt(np.mean(d**2)))
    x = np.tanh(d / scale) if scale > 0 else np.zeros_like(d)
    matches = np.bincount(places)
    share = 1 / matches[places]  # of its prompt
    value = float(_rates(y, x, share[None])[0])
    generator = np.random.default_rng(seed)
    rates = list[Array]()
    block = max(1, AT_ONCE // len(y))
    for start in range(0, RESAMPLES, block):
        drawn = generator.multinomial(len(matches), [1 / len(matches)] * len(matches), min(block, RESAMPLES - start))
        rates.append(_rates(y, x, drawn[:, places] * share))
    low, high = np.quantile(np.concatenate(rates), [0.025, 0.975])
    return Interval(value, float(low), float(high), len(matches))


def _rates(y: Array, x: Array, weights: Array) -> Array:
    """sigmoid(a) for each of [R, M] weightings of the matches, by Newton's method."""
    sums = weights.sum(1)
    mean = weights @ y / sums
    found = mean.copy()  # where all are won or all lost, a is infinite
    inner = (mean > 0) & (mean < 1)
    w = weights[inner]
    a, b = np.log(mean[inner] / (1 - mean[inner])), np.zeros(len(w))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x)))
        rest, curve = w * (y - p), w * p * (1 - p)
        ga, gb = rest.sum(1), rest @ x - b
        haa, hab, hbb = curve.sum(1), curve @ x, curve @ x**2 + 1
        root = haa * hbb - hab**2  # > 0: the penalty keeps hbb above hab^2 / haa
        da, db = (hbb * ga - hab * gb) / root, (haa * gb - hab * ga) / root
        a, b = a + da.clip(-LONGEST, LONGEST), b + db.clip(-LONGEST, LONGEST)
        if max(np.abs(da).max(initial=0), np.abs(db).max(initial=0)) < CLOSE:
            break
    found[inner] = 1 / (1 + np.exp(-a))
    return found
