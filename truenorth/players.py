"""Who is trained: the policy, a method's head beside it, and the second of two modules."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from .evaluate.progress import Watch
from .models.degrees import DegreeReader
from .models.logprobs import base_of
from .models.policy import Policy
from .models.scores import ScoreReader
from .models.task_vector import task_vector
from .optim.compiled import obstacle
from .optim.merging import Merged
from .processes import Group
from .recipe import Recipe
from .run import Run
from .train.checkpoint import Progress
from .train.step import Player

HEAD, SCORE = "degree_head.", "score_head."  # before the names of the parameters of a method's head


def compiling(recipe: Recipe, saved: Progress | None, world: Group, watch: Watch) -> Recipe:
    """`recipe`, whose update knows whether its steps are compiled: where that is left open, as the run began.

    A new run's are on a CPU, if every process has a C compiler.
    """
    update = recipe.update
    if update.compile is not None:
        return recipe
    if not update.to_compile or torch.cuda.is_available() or (saved is not None and not saved.compiled):
        return recipe.replace(update=update.replace(compile=False))
    missing = next((why for why in world.gather(obstacle()) if why), None)
    if missing is not None:
        watch.said(
            f"The optimizer's steps are not compiled: {missing}. They take about twice as long."
            + " Until now they were: the last digits of what follows may differ." * (saved is not None)
        )
    return recipe.replace(update=update.replace(compile=missing is None))


def player_of(recipe: Recipe, policy: Policy) -> Player:
    """The policy as the step trains it, and beside it the head of a method that has one."""
    trained = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
    if recipe.objective.score_head is not None:
        return _judge_of(recipe, policy, trained)
    log_probs, optimizer = policy.log_probs, recipe.update.build(trained.values())
    if (asked := recipe.objective.degree_head) is not None:
        reader = DegreeReader.of(policy, levels=1 + len(asked.deleted))
        own = _beside(reader.head, HEAD, optimizer, asked.learning_rate / recipe.update.learning_rate)
        log_probs, trained = reader.log_probs, trained | own
    return Player(
        log_probs=partial(log_probs, asked=recipe.objective.of_policy),
        objective=recipe.objective,
        optimizer=optimizer,
        named_parameters=trained,
        max_grad_norm=recipe.update.max_grad_norm,
    )


def slow_player(recipe: Recipe, twin: Policy) -> Player:
    """The second of two modules that chase each other, at its share of the learning rate."""
    assert recipe.chase is not None
    assert recipe.objective.slow is not None
    player = player_of(recipe.replace(objective=recipe.objective.slow), twin)
    for group in player.optimizer.param_groups:
        group["rate_scale"] = recipe.chase.speed_ratio
    return player


def _judge_of(recipe: Recipe, policy: Policy, trained: Mapping[str, nn.Parameter]) -> Player:
    """A head of scores and the layers below it. The LM head learns nothing, unless it is the embeddings too."""
    asked = recipe.objective.score_head
    assert asked is not None
    reader = ScoreReader.of(policy)
    unused = None if base_of(policy.model).config.tie_word_embeddings else policy.model.get_output_embeddings()
    below = {name: p for name, p in trained.items() if unused is None or p is not unused.weight}
    optimizer = recipe.update.build(below.values())
    own = _beside(reader.head, SCORE, optimizer, asked.learning_rate / recipe.update.learning_rate)
    return Player(
        log_probs=reader.log_probs,
        objective=recipe.objective,
        optimizer=optimizer,
        named_parameters=below | own,
        max_grad_norm=recipe.update.max_grad_norm,
    )


def _beside(
    head: nn.Module, prefix: str, optimizer: torch.optim.Optimizer, rate_scale: float
) -> dict[str, nn.Parameter]:
    """A method's head, trained beside the policy at so many times its learning rate: its parameters by name."""
    own = {f"{prefix}{name}": parameter for name, parameter in head.named_parameters()}
    optimizer.add_param_group({"params": list(own.values()), "rate_scale": rate_scale})
    return own


def merging(recipe: Recipe, run: Run, player: Player, watch: Watch) -> torch.optim.Optimizer:
    """The player's optimizer, merging if the update asks for it. The policy must still be at its start."""
    rule, trained = recipe.update.merging, player.named_parameters
    if rule is None or rule.idle:
        return player.optimizer
    assert rule.base is not None, "a run refuses merging without a base"
    watch.stage("loading the base model")
    named = {name: p for name, p in trained.items() if not name.startswith((HEAD, SCORE))}
    task = task_vector(rule.base, named, trust_remote_code=run.trust_remote_code)
    return Merged(player.optimizer, rule, task, named, seed=run.seed, by_kernels=bool(recipe.update.compile))
