"""A second policy on the same frozen base."""

import copy
from dataclasses import replace

from .policy import Policy


def twin_of(policy: Policy) -> Policy:
    """Like `policy` as it is now. What is trained is its own; all other weights are the same tensors, held once.

    Two whole models, and not two adapters of one that are switched: no switch can then be in the wrong place when
    activations are recomputed, and each is scored, saved and switched off as any adapted model is.
    """
    held = [*policy.model.parameters(), *policy.model.buffers()]
    model = copy.deepcopy(policy.model, {id(tensor): tensor for tensor in held if not tensor.requires_grad})
    twin = replace(policy, model=model, scorer=policy.scorer.on(model))
    twin.attend_packed()  # a config is copied as it was made
    return twin
