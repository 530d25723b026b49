"""`truenorth evaluate` once its line is read: what is measured, as a table, a page or JSON."""

import json
from typing import Any

from rich.console import Console

from .errors import SettingsError
from .evaluate.progress import watching
from .flags import Given, settings_of
from .measuring.asked import Asked, folder_of
from .measuring.flags import EVALUATE

NUMBERS, PAGE = "evaluation.json", "evaluation.html"
WIDTH = 120  # columns of the table: a log has room for them


def evaluate_command(given: Given, *, as_json: bool) -> None:
    """Print what was found, and write it to --out."""
    fields: dict[str, Any] = settings_of(given, EVALUATE)
    out = folder_of(fields)
    fields.pop("out", None)
    if "model" not in fields:
        raise SettingsError("evaluate needs --model, for instance --model runs/exo/final --data held_out.jsonl.")
    if "tasks" in fields:
        fields["tasks"] = [name.strip() for name in str(fields["tasks"]).split(",") if name.strip()]
    asked = Asked(**fields)
    asked.check()
    with watching(Console(stderr=True)) as watch:
        watch.stage("loading torch")
        from .commands import quiet_libraries
        from .measuring.run import findings

        quiet_libraries()
        found = findings(asked, watch)
        if out is not None:
            from .evaluate.findings_page import write_page
            from .files import write_json

            watch.stage("writing")
            write_json(out / NUMBERS, found.to_dict())
            write_page(found, asked.model_dump(mode="json", exclude_unset=True), out / PAGE)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
        return
    from .evaluate.findings_page import draw

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(draw(found))
    if out is not None:
        print(out / PAGE)
