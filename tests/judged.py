"""Judges that tests name by their import path."""


def length(prompt: object, answer: str) -> float:
    del prompt
    return float(len(answer))


def shorter(prompt: object, a: str, b: str) -> float:
    """P(a beats b): a pairwise judge."""
    del prompt
    return float(len(a) < len(b))
