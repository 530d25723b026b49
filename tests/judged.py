"""A judge that a test names by its import path."""


def length(prompt: object, answer: str) -> float:
    del prompt
    return float(len(answer))
