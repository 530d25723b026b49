"""How many a share of some is, and how sure a share is."""

import math

Z = 1.959963984540054  # the normal distribution's 97.5 % point


def up(number: float) -> int:
    """`number` rounded up, but for what a product is too large by: 0.07 * 100 is a little more than 7.

    >>> up(0.07 * 100), up(7.1)
    (7, 8)
    """
    return math.ceil(round(number, 9))


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) without trials. Halves (ties) are allowed among the successes.

    Unlike the normal interval it stays inside [0, 1] and keeps its coverage near the ends and for few trials.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    if trials <= 0:
        return 0.0, 1.0
    share, scale = successes / trials, 1 + Z * Z / trials
    middle = (share + Z * Z / (2 * trials)) / scale
    half = Z / scale * math.sqrt(max(0.0, share * (1 - share)) / trials + Z * Z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
