"""Writes docs/settings.md from the settings themselves. Run it after changing a setting, a flag or a method."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from truenorth.chase import Chase
from truenorth.clients import Clients
from truenorth.completions import Completions, ServerSettings
from truenorth.domains import Domains
from truenorth.flags import FLAGS
from truenorth.methods import METHODS, describe
from truenorth.models.references import REFERENCES
from truenorth.optim.update import UPDATES, Update
from truenorth.run import DataSource, LoRA, Run
from truenorth.schedule import Rounds
from truenorth.settings import find, table
from truenorth.stream import Stream

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

<!-- Made by scripts/make_settings_page.py from the settings themselves; changes belong there. -->

Each setting has one owner. A **recipe** says what the paper says: objective, references, update. A **run** says what
the machine needs: model, data, sizes, seed. Both stand in one YAML file, as in the `run.yaml` of a run directory:

```yaml
method: exo
objective: {beta: 0.2}
references: {initial: {kind: cached}}
update: {learning_rate: 1.0e-6}
run: {model: my-sft, data: [pairs.jsonl], out: runs/exo, batch_size: 64, lora: {rank: 16}}
```

`truenorth train run.yaml` runs it; flags and `--set` beside it come after what the file says. `--set beta=0.2` changes
a setting of the objective, and a path any other one: `--set update.decay=cosine run.lora.alpha=32`. `none` is nothing.
A default's source is the paper, its authors' code, or ours.

| setting, as in YAML | owner | flag | default | source | meaning |
| --- | --- | --- | --- | --- | --- |
"""
TAIL = """
`--resume` is no setting: it goes on from the newest checkpoint of a run that was asked the same.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return HEAD + "".join([*_run(), *_recipe()]) + TAIL


def _run() -> Iterator[str]:
    for row in table(Run):
        first = {"lora": "--lora", "sampler": "--server", "stream": "--stream"}.get(row["name"])
        yield _row(f"run.{row['name']}", "run", row, flag=first)
        if row["name"] == "data":
            yield from (_row(f"run.data[].{part['name']}", "run", part, flag="") for part in table(DataSource))
        if row["name"] == "sampler":
            yield from (_row(f"run.sampler.server.{part['name']}", "run", part) for part in table(ServerSettings))
            own = (part for part in table(Completions) if part["name"] != "server")
            yield from (_row(f"run.sampler.{part['name']}", "run", part) for part in own)
        if row["name"] == "stream":
            yield from (_row(f"run.stream.{part['name']}", "run", part) for part in table(Stream))
        if row["name"] == "lora":
            yield from (_row(f"run.lora.{part['name']}", "run", part) for part in table(LoRA))


def _recipe() -> Iterator[str]:
    kinds = {"name": "kind", "default": "the method's", "source": "", "description": ""}
    yield _row(
        "method",
        "recipe",
        kinds | {"default": "required", "description": "a name of `truenorth methods`"},
        flag="METHOD",
    )
    yield _row("references.NAME.kind", "recipe", kinds | {"description": ", ".join(REFERENCES)}, flag="--reference")
    for name, path in REFERENCES.items():
        for row in table(find(path)):
            yield _row(f"references.NAME.{row['name']}", "recipe", row, only=name)
    yield _row("update.kind", "recipe", kinds | {"description": ", ".join(UPDATES)})
    yield from (_row(f"update.{row['name']}", "recipe", row) for row in table(Update))
    for name, path in UPDATES.items():
        own = (row for row in table(find(path)) if row["name"] not in Update.model_fields)
        yield from (_row(f"update.{row['name']}", "recipe", row, only=name) for row in own)
    yield from (_row(f"schedule.{row['name']}", "recipe", row) for row in table(Rounds))
    yield from (_row(f"domains.{row['name']}", "recipe", row) for row in table(Domains))
    yield from (_row(f"chase.{row['name']}", "recipe", row) for row in table(Chase))
    yield from (_row(f"clients.{row['name']}", "recipe", row) for row in table(Clients))
    for name in METHODS:
        for row in describe(name)["settings"]:
            if row["name"].startswith(("schedule.", "domains.", "chase.", "clients.")):
                continue
            changed = row["name"].startswith("update.") and row["source"] != "ours"
            path = row["name"] if row["name"].startswith("update.") else f"objective.{row['name']}"
            if changed or path.startswith("objective."):
                yield _row(path, "recipe", row, only=name)


def _row(path: str, owner: str, row: Mapping[str, Any], *, only: str = "", flag: str | None = None) -> str:
    """One line of the table; `only` names the kind or method that has the setting."""
    own = next((flag for flag in FLAGS if flag.path == path), None)
    if flag is None:
        flag = f"--{own.name}" if own else f"--set {path.removeprefix('objective.')}="
    where = f"`{path}`" + (f" of {only}" if only else "")
    meaning = row["description"] or (own.help if own else "")
    cells = [where, owner, f"`{flag}`" if flag else "in YAML", _value(row["default"]), row["source"], meaning]
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else "none" if value in (None, {}, []) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
