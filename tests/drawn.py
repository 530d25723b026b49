"""Random candidates that bring all an objective may ask for by its contract, and changes to them.

They are as the engine makes them: totals are sums over tokens, which lie in the order of their responses.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from truenorth.recipe import OF_POLICY, OF_REFERENCES, Objective
from truenorth.types import Candidates, LogProbs, Measure, Scored, StepSummary

FURTHER = ("third", "fourth")  # references beside those that an objective names; few take them
ROLES = ("demonstration", "sample", "degraded")
LONGEST = 8  # tokens of a response


def sizes(objective: Objective) -> range:
    """The numbers of responses that it is tested with."""
    fewest, most = objective.candidates
    return range(fewest, (most or fewest + 2) + 1)


def drawn(
    objective: Objective, seed: int, *, k: int | None = None, prompts: int = 2, longest: int = LONGEST
) -> Candidates:
    """Candidates in float64 with `k` responses, by default the most: log-probs, lengths, scores and columns random.

    All of `Candidates` is there, whether the objective declares that it reads it or not; the best score comes first.
    """
    k = k or max(sizes(objective))
    draw = torch.Generator().manual_seed(seed)
    length = torch.randint(1, longest + 1, (prompts, k), generator=draw).double()
    names = [*objective.references, *FURTHER]
    best_first = _normal(draw, prompts, k).sort(-1, descending=True).values
    candidates = Candidates(
        policy=_log_probs(draw, length),
        references={name: _log_probs(draw, length) for name in names},
        rewards=best_first,
        wins=torch.sigmoid(best_first[:, :, None] - best_first[:, None, :]),
        token_kl={name: _normal(draw, prompts, k).abs() for name in names},
        columns=_columns(draw, objective, prompts),
        roles={role: _role(draw, prompts, m, names) for m, role in enumerate(ROLES, start=1)},
        degrees=_degrees(draw, objective, prompts, k),
    )
    return dataclasses.replace(candidates, step=alone(candidates))


def _normal(draw: torch.Generator, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=draw, dtype=torch.float64)


def _log_probs(draw: torch.Generator, length: Tensor) -> LogProbs:
    """Totals of about -9 nats and about 3 apart, however long the responses are, and whatever else a model gives."""
    owner = torch.arange(length.numel()).repeat_interleave(length.flatten().long())
    share = 1 / length.flatten()[owner]  # of a token in its response
    tokens = -(_normal(draw, len(owner)) * share.sqrt() - 9 * share).abs()
    entropy, collision = torch.rand(2, *length.shape, generator=draw, dtype=torch.float64) * length
    return LogProbs(summed(tokens, owner, length), length, tokens, entropy, collision)


def _columns(draw: torch.Generator, objective: Objective, prompts: int) -> dict[str, Tensor]:
    """[B] each: labels in turn, anything else within (0, 1)."""
    names = [*objective.columns, "weight"]
    shares = 0.1 + 0.8 * torch.rand(len(names), prompts, generator=draw, dtype=torch.float64)
    return dict(zip(names, shares, strict=True)) | {"label": (torch.arange(prompts) % 2 == 0).double()}


def _role(draw: torch.Generator, prompts: int, m: int, names: Sequence[str]) -> Scored:
    length = torch.randint(1, LONGEST + 1, (prompts, m), generator=draw).double()
    return Scored(_log_probs(draw, length), {name: _log_probs(draw, length) for name in names})


def _degrees(draw: torch.Generator, objective: Objective, prompts: int, k: int) -> Tensor:
    """[B, K, L, L] logits, also where the objective has no head that gives them."""
    levels = 3 if objective.degree_head is None else 1 + len(objective.degree_head.deleted)
    return _normal(draw, prompts, k, levels, levels)


def alone(candidates: Candidates) -> StepSummary:
    """The summary of a step that has no other rows."""
    return StepSummary(
        policy=candidates.policy.total.detach().clone(),  # finite differences change the total in place
        log_ratio={name: candidates.log_ratio(name).detach() for name in candidates.references},
        columns=candidates.columns,
    )


def summed(tokens: Tensor, owner: Tensor, length: Tensor) -> Tensor:
    """[N], [N] -> [B, K] nats."""
    return torch.zeros_like(length.flatten(), dtype=tokens.dtype).index_add(0, owner, tokens).view_as(length)


def policy_of(candidates: Candidates) -> tuple[Tensor, ...]:
    """All that carries the policy's gradient: the degrees, then the tokens of the responses and of each role, then
    token KLs."""
    assert candidates.degrees is not None
    scored = [candidates.policy, *(role.policy for role in candidates.roles.values())]
    tokens = (log_probs.tokens for log_probs in scored if log_probs.tokens is not None)
    return candidates.degrees, *tokens, *candidates.token_kl.values()


def with_policy(candidates: Candidates, outputs: Sequence[Tensor]) -> Candidates:
    """`candidates` scored by another policy, but for their step: `outputs` as from `policy_of`."""
    degrees, policy, *others = outputs
    of_roles, kls = others[: len(candidates.roles)], others[len(candidates.roles) :]

    def by(log_probs: LogProbs, tokens: Tensor) -> LogProbs:
        total = summed(tokens, log_probs.owner, log_probs.length)
        return dataclasses.replace(log_probs, total=total, tokens=tokens)

    roles = {
        name: dataclasses.replace(role, policy=by(role.policy, tokens))
        for (name, role), tokens in zip(candidates.roles.items(), of_roles, strict=True)
    }
    token_kl = dict(zip(candidates.token_kl, kls, strict=True))
    return dataclasses.replace(
        candidates, policy=by(candidates.policy, policy), degrees=degrees, roles=roles, token_kl=token_kl
    )


def mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`part`, a dataclass, mapping or tensor, with `change` applied to every tensor of real numbers in it."""
    if isinstance(part, Tensor):
        return change(part) if part.is_floating_point() else part
    if isinstance(part, Mapping):
        return {name: mapped(value, change) for name, value in part.items()}
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = [field.name for field in dataclasses.fields(part)]
        return dataclasses.replace(part, **{name: mapped(getattr(part, name), change) for name in fields})
    return part


def tensors(part: Any) -> list[Tensor]:
    """Every tensor of real numbers in `part`."""
    found: list[Tensor] = []
    mapped(part, lambda tensor: (found.append(tensor), tensor)[1])
    return found


def taken(candidates: Candidates, prompts: Sequence[int], responses: Sequence[int] | None = None) -> Candidates:
    """The candidates of these prompts, in this order; responses in another order too, then also those of the step."""
    k, step, wins = candidates.policy.total.shape[-1], candidates.step, candidates.wins
    rows, order = list(prompts), list(range(k) if responses is None else responses)
    assert step is not None
    assert wins is not None

    def both(part: Any) -> Any:
        return mapped(part, lambda tensor: tensor[rows][:, order])

    def scored(log_probs: LogProbs) -> LogProbs:
        assert log_probs.tokens is not None
        places = [log_probs.owner == row * k + response for row in rows for response in order]
        tokens = torch.cat([log_probs.tokens[place] for place in places])
        return dataclasses.replace(both(dataclasses.replace(log_probs, tokens=None)), tokens=tokens)

    def of_step(part: Any) -> Any:
        return mapped(part, lambda tensor: tensor[:, order])

    return dataclasses.replace(
        candidates,
        policy=scored(candidates.policy),
        references={name: scored(reference) for name, reference in candidates.references.items()},
        rewards=both(candidates.rewards),
        wins=both(wins)[:, :, order],
        columns=mapped(candidates.columns, lambda tensor: tensor[rows]),
        roles=mapped(candidates.roles, lambda tensor: tensor[rows]),
        degrees=both(candidates.degrees),
        token_kl=both(candidates.token_kl),
        step=dataclasses.replace(step, policy=of_step(step.policy), log_ratio=of_step(step.log_ratio)),
    )


def declared(objective: Objective) -> list[str]:
    """Names of all that `objective` says it reads, but for its step."""
    read = objective.reads - {"step"}
    return [*objective.references, *objective.columns, *read, *["sample"] * (objective.sample is not None)]


def swapped(candidates: Candidates, part: str) -> Candidates:
    """`candidates` whose prompts have each other's `part`, named as in `declared`; the step's is the same."""

    def swap(tensor: Tensor) -> Tensor:
        return tensor.flip(0)

    def measured(log_probs: LogProbs, measures: Mapping[Any, Measure]) -> LogProbs:
        names = [n for n in {measures[part]} if getattr(log_probs, n) is not None] if part in measures else []
        return dataclasses.replace(log_probs, **{name: swap(getattr(log_probs, name)) for name in names})

    references, columns = candidates.references, candidates.columns
    found = dataclasses.replace(
        candidates,
        policy=measured(candidates.policy, OF_POLICY),
        references={
            name: mapped(reference, swap) if name == part else measured(reference, OF_REFERENCES)
            for name, reference in references.items()
        },
        columns={name: swap(column) if name == part else column for name, column in columns.items()},
        **{name: swap(getattr(candidates, name)) for name in ("rewards", "wins", "degrees") if name == part},
        token_kl={name: swap(kl) if part in (name, "token_kl") else kl for name, kl in candidates.token_kl.items()},
        roles={name: mapped(role, swap) if name == part else role for name, role in candidates.roles.items()},
    )
    return dataclasses.replace(found, step=alone(found))


def undeclared(objective: Objective, candidates: Candidates, change: Callable[[Tensor], Tensor] | None) -> Candidates:
    """`candidates` with all that `objective` does not declare to read changed; None takes it away."""

    def other(part: Any) -> Any:
        return mapped(part, change) if change else None

    def others(parts: Mapping[str, Any], read: Sequence[str]) -> dict[str, Any]:
        unread = {name: other(part) for name, part in parts.items() if name not in read and change}
        return unread | {name: parts[name] for name in read}

    def measured(log_probs: LogProbs, read: frozenset[Measure]) -> LogProbs:
        unread = [name for name in get_args(Measure) if name not in read]
        return dataclasses.replace(log_probs, **{name: other(getattr(log_probs, name)) for name in unread})

    references = {name: measured(part, objective.of_references) for name, part in candidates.references.items()}
    whole = {name: getattr(candidates, name) for name in ("rewards", "wins", "degrees", "step")}
    read = objective.reads | objective.reads_if_given | {objective.scope}
    return dataclasses.replace(
        candidates,
        policy=measured(candidates.policy, objective.of_policy),
        references=references if objective.further_references else others(references, objective.references),
        columns=others(candidates.columns, objective.columns),
        roles=others(candidates.roles, () if objective.sample is None else ("sample",)),
        token_kl=others(candidates.token_kl, objective.references if "token_kl" in read else ()),
        **{name: part if name in read else other(part) for name, part in whole.items()},
    )
