"""What is logged of a step, summed on the device: one transfer per step, none per micro-batch."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..processes import Group
from ..recipe import Objective
from ..types import Candidates

WEIGHT, SQUARES, PROMPTS = "sum of weights", "sum of their squares", "prompts that weigh something"
OF_PAIRS = ("chosen", "rejected", "margins", "accuracies")  # what a demonstration beside pairs has not


class Metrics:
    """Sums over the prompts of one or more steps, under the names that dashboards of this field know.

    A prompt counts by its `columns["weight"]`, in every metric as in the loss: weight 0 is leaving the row out.

    rewards/chosen, rewards/rejected  the policy's implicit rewards (rejected: the mean of all but the best)
    rewards/margins                   chosen minus rejected
    rewards/accuracies                share of the rejected that the chosen one beats; equal rewards count half, and
                                      responses that the data score as high as the chosen one do not count
    logps/chosen, logps/rejected      nats per response
    logps/sample                      the same of what was drawn beside the compared responses
    kl/NAME                           mean over responses of log pi - log pi_ref, nats: on responses the policy did
                                      not write it is a drift and can be negative
    lengths/chosen, lengths/rejected  tokens
    loss/base                         of a module that sees another one: the loss without what ties it to its peer
    degrees/accuracy                  share of the responses and their degraded versions of which the degree head tells
                                      how much was deleted; chance is 1 over the number of levels

    Of single answers with labels, the good ones are the chosen and the bad ones the rejected: the means are over each,
    and the margin is the difference of both. A label that no row has, has no metrics. Demonstrations beside pairs have
    rewards/demonstrations, logps/demonstrations and lengths/demonstrations; all of the above is then of the pairs.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}  # of each metric times the weights, and of the weights themselves
        self.grad_norm: Tensor | None = None

    @torch.no_grad()
    def add(self, candidates: Candidates, losses: Tensor, objective: Objective) -> None:
        """Add a micro-batch: `losses` is [B], before weights."""
        weights = candidates.columns.get("weight", torch.ones_like(losses))  # [B]
        sides = _sides(candidates, objective)
        counted = {f"{WEIGHT}/{side}": weights * share for side, share in sides.items()}
        found = {
            name: counted.get(_weight_of(name), weights) * values
            for name, values in per_prompt(candidates, losses, objective).items()
        }
        found |= {WEIGHT: weights, SQUARES: weights.square(), PROMPTS: (weights > 0).float()} | counted
        if "accuracies" in sides:
            found[f"{SQUARES}/accuracies"] = weights.square()
        for name, values in found.items():
            self.sums[name] = self.sums.get(name, values.new_zeros(())) + values.sum()

    def over(self, group: Group) -> "Metrics":
        """The sums of all processes of `group`. Waits for the device and for the processes, once."""
        if group.size == 1:
            return self
        names = list(self.sums)
        values = torch.stack([self.sums[name] for name in names]).double().cpu() if names else torch.zeros(0)
        whole = Metrics.together(group.gather(dict(zip(names, values, strict=True))))
        whole.grad_norm = self.grad_norm
        return whole

    @classmethod
    def together(cls, parts: Iterable[Mapping[str, Tensor]]) -> "Metrics":
        """The metrics of all prompts, from the sums of each part of them."""
        whole = cls()
        for sums in parts:
            for name, value in sums.items():
                whole.sums[name] = whole.sums.get(name, torch.zeros((), dtype=torch.float64)) + value
        return whole

    @property
    def prompts(self) -> int:
        """How many prompts weigh something."""
        return int(self.sums[PROMPTS]) if self.sums else 0

    @property
    def trials(self) -> float:
        """How many prompts of one weight would make the accuracy as sure (Kish's effective sample size)."""
        of = "/accuracies" if f"{SQUARES}/accuracies" in self.sums else ""
        squares = float(self.sums.get(SQUARES + of, 0.0))
        return float(self.sums[WEIGHT + of]) ** 2 / squares if squares else 0.0

    def means(self) -> dict[str, float]:
        """Each metric's mean over the prompts, by weight. Waits for the device, once."""
        names = list(self.sums)
        values = torch.stack([self.sums[name] for name in names]).tolist() if names else []
        sums = dict(zip(names, values, strict=True))
        weight = sums.get(WEIGHT, 0.0) or 1.0  # prompts that all weigh nothing: all is 0, as the loss
        means = {
            name: value / (sums.get(_weight_of(name)) or weight)
            for name, value in sums.items()
            if not name.startswith((WEIGHT, SQUARES, PROMPTS)) and sums.get(_weight_of(name)) != 0
        }
        if "rewards/margins" not in means and {"rewards/chosen", "rewards/rejected"} <= means.keys():
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        if self.grad_norm is not None:
            means["grad_norm"] = float(self.grad_norm)
        return means


def to_host(metrics: Sequence[Metrics], tensors: Sequence[Tensor]) -> list[Tensor]:
    """`tensors` on the host, and with them, in place, all that `metrics` hold. One copy, and so one wait."""
    sums = [torch.stack(list(metric.sums.values())) for metric in metrics if metric.sums]
    norms = [metric.grad_norm for metric in metrics if metric.grad_norm is not None]
    there = [*tensors, *sums, *norms]
    if not there:
        return []
    flat = torch.cat([tensor.detach().float().flatten() for tensor in there]).cpu()
    parts = zip(flat.split([tensor.numel() for tensor in there]), there, strict=True)
    here = iter([part.view(tensor.shape) for part, tensor in parts])
    fetched = [next(here) for _ in tensors]
    for metric in metrics:
        if metric.sums:
            metric.sums = dict(zip(metric.sums, next(here).unbind(), strict=True))
    for metric in metrics:
        metric.grad_norm = None if metric.grad_norm is None else next(here)
    return fetched


def per_prompt(candidates: Candidates, losses: Tensor, objective: Objective) -> Mapping[str, Tensor]:
    """[B] of every metric. Needs no gradients."""
    policy, rewards = candidates.policy, objective.implicit_rewards(candidates)
    metrics = {
        "loss": losses,
        "rewards/chosen": rewards[:, 0],
        "logps/chosen": policy.total[:, 0],
        "lengths/chosen": policy.length[:, 0].float(),
    }
    sides = _sides(candidates, objective)
    if "demonstrations" in sides:
        metrics = {name.replace("chosen", "demonstrations"): value for name, value in metrics.items()}
    elif policy.total.shape[1] == 1 and sides:
        metrics |= {name.replace("chosen", "rejected"): metrics[name] for name in metrics if name != "loss"}
    if policy.total.shape[1] > 1:
        rejected = rewards[:, 1:].mean(1)
        metrics |= {
            "rewards/rejected": rejected,
            "rewards/margins": rewards[:, 0] - rejected,
            "rewards/accuracies": _wins(rewards, candidates.rewards),
            "logps/rejected": policy.total[:, 1:].mean(1),
            "lengths/rejected": policy.length[:, 1:].float().mean(1),
        }
    if (logits := candidates.degrees) is not None:
        levels = torch.arange(logits.shape[-1], device=logits.device)
        metrics["degrees/accuracy"] = (logits.argmax(-1) == levels).float().mean((1, 2))
    if (base := objective.base_loss(candidates)) is not None:
        metrics["loss/base"] = base
    for name in candidates.references:
        metrics[f"kl/{name}"] = candidates.log_ratio(name).mean(1)
    for role, further in candidates.roles.items():
        metrics[f"logps/{role}"] = further.policy.total.mean(1)
    if objective.score_head is not None:  # there are no log-probs
        return {name: values for name, values in metrics.items() if not name.startswith("logps/")}
    return metrics


def _sides(candidates: Candidates, objective: Objective) -> dict[str, Tensor]:
    """[B] how far a row counts in the metrics of each kind, by their last name; empty where each counts in all.

    A single answer with a label is a chosen or a rejected one; beside pairs it is a demonstration.
    """
    single, label = candidates.policy.total.shape[1] == 1, candidates.columns.get("label")
    if objective.demonstrations:
        names = ("demonstrations",) if single else OF_PAIRS
        return dict.fromkeys(names, torch.ones_like(candidates.policy.total[:, 0]))
    return {} if label is None or not single else {"chosen": label, "rejected": 1 - label}


def _weight_of(metric: str) -> str:
    """The name of the sum of weights that a metric of one kind of rows is divided by, where there are kinds."""
    return f"{WEIGHT}/{metric.rpartition('/')[2]}"


def _wins(rewards: Tensor, scores: Tensor | None) -> Tensor:
    """[B, K] implicit rewards and the data's scores -> [B] share of the worse responses that the first one beats."""
    margin = rewards[:, :1] - rewards[:, 1:]
    wins = 0.5 * ((margin > 0).float() + (margin >= 0).float())
    worse = torch.ones_like(wins) if scores is None else (scores[:, :1] > scores[:, 1:]).float()
    worse = torch.where(worse.any(1, keepdim=True), worse, torch.ones_like(worse))  # all tied: none is worse
    return (wins * worse).sum(1) / worse.sum(1)
