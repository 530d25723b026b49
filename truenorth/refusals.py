"""What a run may not be: refused before its model is loaded, with what to do instead."""

import torch

from .data.prepare import Prepared
from .errors import SettingsError
from .models.classifier import check_classifier
from .models.load import config_of
from .models.origin import base_of_adapter
from .models.sharding import Sharding, Sizes
from .models.task_vector import check_base, check_shapes
from .optim.kernels import require_compiler
from .optim.update import NEEDS_ROWS, refuse_without_kernels
from .recipe import Recipe
from .run import Run


def adapts(run: Run) -> bool:
    """Whether an adapter is trained, and not all weights."""
    return run.lora is not None or base_of_adapter(run.model) is not None


def refuse_unloadable(recipe: Recipe, run: Run) -> None:
    """Raise ModelError where a head of scores has no class that it could be loaded with, and SettingsError where an
    adapter is to be written in fewer bits than it is trained in."""
    if run.save_as not in ("auto", "float32") and adapts(run):
        raise SettingsError(
            f"--save-as is {run.save_as}, and an adapter is trained: it is written in float32, as it is trained. "
            "Leave --save-as out, or train all weights."
        )
    if recipe.objective.score_head is not None:
        check_classifier(config_of(run.model, trust_remote_code=run.trust_remote_code))


def refuse_parts_of_a_model(recipe: Recipe, sizes: Sizes) -> None:
    """Raise SettingsError where the recipe needs the whole model in every process, and each holds a part of it."""
    objective = recipe.objective
    whole = {
        f"{objective.name} trains a head on the model's states": objective.degree_head or objective.score_head,
        f"{recipe.method} trains two modules on one model": recipe.chase,
        f"{recipe.method} plays rounds, whose prompts each process answers by itself": recipe.schedule,
        f"{recipe.method} trains clients apart from each other": recipe.clients,
    }
    for what, asked in whole.items():
        if asked is not None and sizes.in_step:
            raise SettingsError(
                f"{what}: every process must hold the whole model, and it is held as {sizes}. Use --layout "
                "data; where memory is short, with --lora."
            )


def refuse_update(recipe: Recipe, run: Run, sharding: Sharding) -> None:
    """Raise SettingsError or ModelError where the update cannot step parameters that are held so, has no compiler for
    its kernels, or merges with what is no base, as far as settings tell."""
    if recipe.update.by_rows and sharding.sizes.slices > 1:
        raise SettingsError(NEEDS_ROWS.format(kind=recipe.update.kind))
    if recipe.update.compile:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        refuse_without_kernels(recipe.update, device)
        require_compiler("update.compile", device)
    if (rule := recipe.update.merging) is None or rule.idle:
        return
    base = check_base(type(rule).__name__, rule.base, run.model, adapter=adapts(run), sliced=sharding.sizes.slices > 1)
    check_shapes(base, run.model, trust_remote_code=run.trust_remote_code)


def refuse_long_rows(run: Run, context: int | None, data: list[Prepared]) -> None:
    """Raise SettingsError if a row is longer than the model's context: positions past it are not learnt."""
    longest = max(prepared.rows.longest for prepared in data)
    if context is not None and longest > context:
        both = data[0].rows.ends == "orders"
        raise SettingsError(
            f"{run.model} has a context of {context} tokens, and the longest prompt with its answer"
            f"{'s, one behind the other,' * both} has {longest}. "
            f"Use --max-length {context // 2 if both else context} with --too-long drop or truncate."
        )
