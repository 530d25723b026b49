"""The tables of alignment_tax.py, made of its csv."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from frontier import Place, mean_and_error, reward_at
from frontier_tables import head, row
from tax_cells import Cell, further, headline, intervals, losses, pulls
from tax_points import Found, Key

TAXES = (0.005, 0.01, 0.02, 0.05)  # shares of facts that answers drawn at temperature 1 no longer have right
COLUMNS: Mapping[str, tuple[str, str]] = {  # measure -> title, format
    "reward": ("reward", ".3f"),
    "kl": ("KL, nats", ".2f"),
    "facts": ("facts, greedy", ".3f"),
    "right": ("facts, drawn", ".3f"),
    "sft": ("letters and tales, nats", ".3f"),
    "base": ("pre-training, nats", ".3f"),
}
FAMILIES: Mapping[str, Mapping[str, Sequence[str]]] = {  # of points along one knob or two -> what their keys may have
    "AdamW, learning rates": {"arm": ["AdamW"], "beta": ["0.3"]},
    "AdamW, betas": {"arm": ["AdamW"], "rate": ["0.001"]},
    "LoRA": {"arm": ["LoRA"]},
    "OnDARE, released": {"arm": ["OnDARE, released"], "pull": ["0.01", "6.4e-06"], "every": ["1"]},
    "OnTIES, released": {"arm": ["OnTIES, released"], "pull": ["0.01", "6.4e-06"], "every": ["1"]},
    "OnTIES, written": {"arm": ["OnTIES, written"], "pull": ["0.01"], "every": ["1"]},
}
AFTER: Mapping[str, str] = {  # of points that were made of one run -> how their names begin
    "AdamW averaged with SFT": "averaged",
    "AdamW and SFT by DARE": "DARE",
    "AdamW and SFT by TIES": "TIES",
    "AdamW and SFT by HMA": "HMA",
    "AdamW, moving averages": "EMA",
}


def print_tables(found: Found) -> None:
    """All of them in Markdown; nothing of a run that is not in the csv."""
    for title, lines in tables(found):
        print(f"\n{title}\n", *lines, sep="\n")


def tables(found: Found) -> Iterator[tuple[str, list[str]]]:
    yield "SFT", measured(found, [key for key in found if key.arm == "SFT"])
    yield "Trained", measured(found, keys(headline()))
    yield "Other settings", measured(found, keys(further()))
    yield "Merged and averaged", measured(found, dict.fromkeys(key.group for key in found if key.after))
    yield "Reward at a tax", frontier_lines(found)
    yield "alpha", measured(found, keys(pulls()))
    yield "Step-K", measured(found, keys(intervals()))
    yield "Losses", measured(found, keys(losses()))


def keys(cells: Sequence[Cell]) -> list[Key]:
    return [Key(*cell.key) for cell in cells]


def measured(found: Found, groups: Sequence[Key] | Mapping[Key, None]) -> list[str]:
    """Means over seeds with their standard errors, a line for each group."""
    lines = head(["what", "seeds", *(title for title, _ in COLUMNS.values())])
    for group in groups:
        points = [point for key, point in found.items() if key.group == group and point]
        if points:
            numbers = [_mean([point[name] for point in points], form) for name, (_, form) in COLUMNS.items()]
            lines.append(row([label(group), len(points), *numbers]))
    return lines


def label(key: Key) -> str:
    """What sets a group apart.

    >>> label(Key("AdamW", "dpo", "0.3", "0.0005", "1", "0", "1"))
    'AdamW, rate 0.0005'
    """
    if key.after:
        return key.after
    usual = {"loss": "dpo", "beta": "0.3", "keep": "1", "pull": "0", "every": "1"}
    parts = [key.arm, *([key.loss] if key.loss not in ("", usual["loss"]) else [])]
    names = ("beta", "rate", "keep", "pull", "every")
    return ", ".join(parts + [f"{n} {getattr(key, n)}" for n in names if getattr(key, n) not in ("", usual.get(n))])


def frontier_lines(found: Found) -> list[str]:
    """The greatest reward that mixtures of a family's policies and the SFT model have at a tax.

    A mixture answers each request by one of two policies, by a coin: reward and tax are the means of theirs.
    """
    lines = head(["family", *(f"reward at {100 * tax:g} points" for tax in TAXES)])
    for name in [*FAMILIES, *AFTER]:
        seeds = [seed for seed in ("1", "2", "3") if len(places(found, name, seed)) > 1]
        if seeds:
            rewards = [[reward_at(places(found, name, seed), tax) for seed in seeds] for tax in TAXES]
            lines.append(row([name, *(_mean(values, ".3f") for values in rewards)]))
    return lines


def places(found: Found, family: str, seed: str) -> list[Place]:
    """(tax, reward) of the SFT model and of a family's points; a tax below 0 is none."""
    start = found[Key("SFT")]
    points = [point for key, point in found.items() if point and key.seed == seed and of_family(key, family)]
    return [(0.0, start["reward"]), *((max(0.0, start["right"] - p["right"]), p["reward"]) for p in points)]


def of_family(key: Key, family: str) -> bool:
    if family in AFTER:
        return key.after.startswith(AFTER[family]) or (key.rate == "0.001" and key == replace(PARENT, seed=key.seed))
    allowed = FAMILIES[family].items()
    return key.loss == "dpo" and not key.after and all(getattr(key, name) in values for name, values in allowed)


PARENT = Key(*Cell("AdamW").key)  # which merges are made of, and are one end of


def _mean(values: Sequence[float], form: str) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:{form}}" + (f" +- {error:{form}}" if len(values) > 1 else "")
