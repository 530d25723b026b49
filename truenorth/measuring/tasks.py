"""Tasks of lm-eval, which a user installs beside TrueNorth: one thin call, and its numbers as it gives them."""

import importlib
from collections.abc import Mapping
from typing import Any

from ..evaluate.intervals import Interval
from ..proportions import Z
from .asked import Asked

ERROR = "_stderr"  # in the names of lm-eval's standard errors


def results(asked: Asked) -> dict[str, dict[str, Interval]]:
    """The metrics of each task, with the normal interval of lm-eval's standard error where it gives one."""
    base = asked.adapter_base
    model = {"pretrained": base or asked.model, "trust_remote_code": asked.trust_remote_code}
    if base is not None:
        model["peft"] = asked.model
    run: Any = importlib.import_module("lm_eval").simple_evaluate
    found = run(model="hf", model_args=model, tasks=list(asked.tasks))
    counts = found.get("n-samples", {})
    return {task: _metrics(of, counts.get(task, {})) for task, of in found["results"].items()}


def _metrics(given: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Interval]:
    """`acc,none` beside `acc_stderr,none`, as numbers with intervals; without an error the bounds are the value."""
    found = dict[str, Interval]()
    for key, value in given.items():
        name, _, how = key.partition(",")
        if name.endswith(ERROR) or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        error = given.get(f"{name}{ERROR},{how}")
        half = Z * error if isinstance(error, int | float) else 0.0
        found[name if how in ("", "none") else f"{name} ({how})"] = Interval(
            float(value), value - half, value + half, int(counts.get("effective", 0))
        )
    return found
