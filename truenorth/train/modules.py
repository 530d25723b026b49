"""What is said of a run of two modules: of each by itself, and together where it is the same."""

from collections.abc import Mapping, Sequence

from .evidence import Finding, Record

SECOND = "player-1/"  # before the names of the second module's metrics
ORDER = ("first", "second")


def by_module(records: Sequence[Record]) -> list[Sequence[Record]]:
    """The records of each module, as if it were the only one: one list, of two modules two.

    What is logged once, such as the step, is in both.

    >>> by_module([{"step": 1, "loss": 0.5, "player-1/loss": 0.6}])
    [[{'step': 1, 'loss': 0.5}], [{'step': 1, 'loss': 0.6}]]
    """
    if not any(name.startswith(SECOND) for record in records for name in record):
        return [records]
    first = [{name: value for name, value in record.items() if not name.startswith(SECOND)} for record in records]
    return [first, [_of_second(record) for record in records]]


def _of_second(record: Record) -> Record:
    both = {name for name in record if not name.startswith(SECOND) and SECOND + name not in record}
    return {
        name.removeprefix(SECOND): value for name, value in record.items() if name.startswith(SECOND) or name in both
    }


def exchanged(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of both modules under each other's names.

    >>> exchanged({"loss": 0.5, "player-1/loss": 0.6})
    {'loss': 0.6, 'player-1/loss': 0.5}
    """
    second = {name.removeprefix(SECOND): value for name, value in metrics.items() if name.startswith(SECOND)}
    return second | {SECOND + name: value for name, value in metrics.items() if not name.startswith(SECOND)}


def together(first: Sequence[Finding], second: Sequence[Finding]) -> list[Finding]:
    """The findings of both modules: one where they are alike, else each with its module's name."""
    others = {(finding.title, finding.level): finding for finding in second}
    found = list[Finding]()
    for finding in first:
        other = others.pop((finding.title, finding.level), None)
        found.append(_named(finding, 0) if other is None else _of_both(finding, other))
    return found + [_named(finding, 1) for finding in others.values()]


def _named(finding: Finding, place: int) -> Finding:
    return Finding(finding.level, f"{finding.title} ({ORDER[place]} module)", finding.sentence, finding.setting)


def _of_both(one: Finding, other: Finding) -> Finding:
    """One finding of what is alike in kind, if not in its numbers."""
    said, setting = one.sentence, one.setting
    if said != other.sentence:
        said = f"First module: {said} Second module: {other.sentence}"
    if setting != other.setting:
        setting = f"{setting}, or {other.setting}"  # of a setting that both name, the first one's value stays
    return Finding(one.level, one.title, said, setting)
