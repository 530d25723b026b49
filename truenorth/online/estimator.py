"""An estimator of who wins: a trained judge that is asked again and again, each time with other units dropped.

Dropout that stays on makes of one model as many as it is asked times, and their disagreement says how little it knows.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from ..judge import Failed, Question, sigmoid
from ..models.origin import base_of_adapter, must_exist
from ..selection import Informative, Selection
from .round_file import RoundRow
from .selecting import Estimator, Floats

if TYPE_CHECKING:  # torch is slow to import
    from ..models.answer_scores import AnswerScores
    from ..models.logprobs import Model

HOW = "truenorth train preference --model my-sft --data pairs.jsonl --lora 16 --set run.lora.dropout=0.1 --out judge"


def check_estimator(selection: Selection | None) -> None:
    """Raise ModelError where an estimator is missing, is no judge of ours, or has no dropout, before one is loaded."""
    if not isinstance(selection, Informative):
        return
    path = selection.estimator
    if path is None:
        raise ModelError(f"an estimator must be given: --set estimator=judge/final. Make one with {HOW}")
    must_exist(path)
    from ..models.classifier import ABOUT

    if not (Path(path) / ABOUT).is_file():
        raise ModelError(
            f"the estimator {path} was not written by `truenorth train`, so how it reads answers is not known. Make "
            f"one with {HOW}"
        )
    if selection.runs > 1 and not has_dropout(path):
        raise ModelError(
            f"the estimator {path} has no dropout: asked {selection.runs} times it would say the same, and every pair "
            f"would be as certain as any other. Make one that has: {HOW}"
        )


def has_dropout(path: str) -> bool:
    """Whether the model or adapter at `path` leaves out units in training, as its configuration says."""
    from ..models.load import config_of

    if base_of_adapter(path) is not None:
        adapter = json.loads((Path(path) / "adapter_config.json").read_text(encoding="utf-8"))
        if adapter.get("lora_dropout", 0) > 0:
            return True
    own = config_of(path).get_text_config().to_dict()
    return any(value > 0 for name, value in own.items() if "drop" in name and isinstance(value, float))


def open_estimator(selection: Selection | None) -> Estimator | None:
    """The estimator that a selection names; None where it has none. Raises ModelError if it cannot be read."""
    if not isinstance(selection, Informative):
        return None
    from ..models.answer_scores import AnswerScores

    assert selection.estimator is not None, "it was checked"
    scores = AnswerScores.load(selection.estimator)
    return lambda rows, seed: chances(rows, scores, runs=selection.runs, seed=seed)


def chances(rows: Sequence[RoundRow], scores: "AnswerScores", *, runs: int, seed: int) -> Floats:
    """[J, T] P(first beats second) of each row's two answers, in T runs with dropout; the seed gives the same ones."""
    import torch

    from .judges.reward import as_trained, scored

    pairwise, tokens = scores.about.get("kind") == "preference", as_trained(scores)
    asked = [question for row in rows for question in _questions(row, pairwise=pairwise)]
    found = np.empty((len(rows), runs))
    with torch.random.fork_rng(), _dropping(scores.model):
        torch.manual_seed(seed)
        for run in range(runs):
            said = scored(asked, scores, tokens)
            if bad := next((reply for reply in said if isinstance(reply, Failed)), None):
                raise ModelError(f"the estimator cannot read an answer of the round: {bad.reason}.")
            numbers = [float(reply) for reply in said if not isinstance(reply, Failed)]
            found[:, run] = [_chance(*two, pairwise=pairwise) for two in zip(numbers[::2], numbers[1::2], strict=True)]
    return found


@contextmanager
def _dropping(model: "Model") -> Generator[None]:
    """Within it `model` leaves out units as in training."""
    model.train()
    try:
        yield
    finally:
        model.eval()  # as it was loaded


def _questions(row: RoundRow, *, pairwise: bool) -> tuple[Question, Question]:
    """Both orders of the pair, or each answer."""
    first, second = row.responses
    if pairwise:
        return Question(row.prompt, (first, second)), Question(row.prompt, (second, first))
    return Question(row.prompt, (first,)), Question(row.prompt, (second,))


def _chance(first: float, second: float, *, pairwise: bool) -> float:
    """P(first wins) from the log odds in both orders, or from both rewards."""
    return 0.5 * (sigmoid(first) + 1 - sigmoid(second)) if pairwise else sigmoid(first - second)
