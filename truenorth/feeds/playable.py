"""Whether a run has what rounds of self-play need, and nothing that would not be read."""

from ..errors import SettingsError
from ..online.estimator import check_estimator
from ..recipe import Recipe
from ..run import Run
from .drawing import check as check_drawing


def check(recipe: Recipe, run: Run) -> None:
    """Raise SettingsError where a run in rounds lacks what it needs, or is given what it would not read."""
    check_drawing(recipe, run)
    if recipe.schedule is None:
        refuse_unread(recipe, run)
        if not run.data and run.stream is None:
            raise SettingsError(f"{recipe.method} needs rows to train on: --data DATA ...")
        return
    if missing := lacking(recipe, run):
        source = "--data pairs.jsonl" if recipe.schedule.from_rows else "--prompts prompts.jsonl"
        judge = " --judge my.judges:reward" * recipe.asks_a_judge
        raise SettingsError(
            f"{recipe.method} plays rounds: it needs {' and '.join(missing)}. For instance: truenorth train "
            f"{recipe.method} --model my-sft {source}{judge} --out runs/x"
        )
    refuse_unread(recipe, run)
    if run.judge is not None:
        run.judge.check_place()
    check_estimator(recipe.objective.selection)


def lacking(recipe: Recipe, run: Run) -> list[str]:
    """Flags that rounds need and are not given."""
    if recipe.schedule is None:
        return []
    from_rows = recipe.schedule.from_rows
    needed = {"--data": from_rows, "--prompts": not from_rows, "--judge": recipe.asks_a_judge}
    given = {"--data": run.data, "--prompts": run.prompts, "--judge": run.judge}
    return [flag for flag, needs in needed.items() if needs and not given[flag]]


def refuse_unread(recipe: Recipe, run: Run) -> None:
    """Raise SettingsError for what is given and would not be read."""
    if recipe.schedule is None:
        if run.judge is not None:
            raise SettingsError(
                f"{recipe.method} trains on rows of a file: there is nothing to judge. Leave --judge out, or take a "
                "method that plays rounds (`truenorth methods`)."
            )
        return
    if run.judge is not None and not recipe.asks_a_judge:
        raise SettingsError(
            f"{recipe.method} asks no judge: its rows are ordered by the data, or by the policy. Leave --judge out."
        )
    unread = {
        "--data": run.data and not recipe.schedule.from_rows,
        "--epochs": run.epochs,
        "--max-steps": run.max_steps,
    }
    if odd := [flag for flag, value in unread.items() if value]:
        raise SettingsError(
            f"{recipe.method} plays rounds, which make their own rows: {', '.join(odd)} would not be read. Say how "
            "long with --rounds and --set schedule.epochs=..., schedule.prompts=..."
        )
    if shared := [source.path for source in run.data if source.share != 1]:
        raise SettingsError(
            f"{recipe.method} plays rounds, which take every row once in a pass, and {shared[0]} has a share. Take "
            "some of the file's rows in place of that, or give its rows a column `weight`."
        )
