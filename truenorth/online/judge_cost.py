"""What a judge takes, as far as it can be known before it is loaded."""

from dataclasses import dataclass

import torch
from transformers import AutoModelForSequenceClassification

from ..judge import JudgeSettings
from ..models.classifier import check_classifier
from ..models.load import config_of
from .judges.preference import PreferenceModel
from .judges.reward import RewardModel


@dataclass(frozen=True, slots=True)
class JudgeCost:
    """Of one judge; of none the defaults."""

    held: int = 0  # bytes in this process
    flops: float | None = None  # for a token that it reads; None: its time is not known
    at_once: int = 1  # answers in a question
    orders: int = 1  # in which two answers are shown

    def questions(self, answers: int) -> int:
        """About so many answers to one prompt.

        >>> JudgeCost().questions(4), JudgeCost(at_once=2, orders=2).questions(4)
        (4, 12)
        """
        return answers if self.at_once == 1 else self.orders * answers * (answers - 1) // 2


def judge_cost(settings: JudgeSettings | None, *, gpu: bool) -> JudgeCost:
    """The cost of a judge; None: nobody is named. Raises ModelError where its model has no configuration."""
    if settings is None:
        return JudgeCost()
    at_once, orders = settings.answers_at_once, 1 + settings.both_orders
    if not isinstance(settings, RewardModel | PreferenceModel):
        return JudgeCost(at_once=at_once, orders=orders)
    config = config_of(settings.model, trust_remote_code=settings.trust_remote_code)
    check_classifier(config)
    config.num_labels = 1
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    entries = sum(parameter.numel() for parameter in model.parameters())
    looked_up = model.get_input_embeddings().weight.numel()
    stored = config.dtype if gpu and isinstance(config.dtype, torch.dtype) else torch.float32  # as it is loaded
    return JudgeCost(entries * stored.itemsize, 2.0 * (entries - looked_up), at_once, orders)
