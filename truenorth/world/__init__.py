"""The embedded world: a small harbour town whose text a grammar makes, with exact oracles, models and data.

What ships with the package: a base model, an SFT model trained from it, and answers sampled from the SFT model with
the oracles' scores. `scripts/make_world.py` makes all of it again.
"""

from importlib.resources import files
from pathlib import Path

from .facts import Fact, fact_accuracy, fact_questions
from .oracles import grammatical, letter_reward, review_reward, reward, tale_style, tale_wins


def _shipped(name: str) -> Path:
    return Path(str(files("truenorth.world") / "package_data" / name))


def base_model() -> Path:
    """Directory of the base model: it knows the world's text, and no chat."""
    return _shipped("base")


def sft_model() -> Path:
    """Directory of the SFT model: it answers requests, in every mood and style alike."""
    return _shipped("sft")


def reviews() -> Path:
    """Rows {prompt, responses[4], scores[4]}: 512 requests for reviews, scored by `review_reward`."""
    return _shipped("reviews.jsonl.gz")


def reviews_eval() -> Path:
    """128 more rows like `reviews`, about places that are not in it."""
    return _shipped("reviews_eval.jsonl.gz")


def letters() -> Path:
    """Rows {prompt, responses[4], scores[4]}: 512 requests for letters, scored by `letter_reward`."""
    return _shipped("letters.jsonl.gz")


def letters_eval() -> Path:
    """128 more rows like `letters`, about matters that are not in it."""
    return _shipped("letters_eval.jsonl.gz")


def tales() -> Path:
    """Rows {prompt, responses[4]}: 256 requests for tales, without scores: `tale_wins` is the judge."""
    return _shipped("tales.jsonl.gz")


__all__ = [
    "Fact", "base_model", "fact_accuracy", "fact_questions", "grammatical", "letter_reward", "letters", "letters_eval",
    "review_reward", "reviews", "reviews_eval", "reward", "sft_model", "tale_style", "tale_wins", "tales",
]  # fmt: skip
