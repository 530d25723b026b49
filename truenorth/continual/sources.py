"""Which rows belong to which domain: a file each, or a column of all files."""

import filecmp
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..data.files import RawRow, must_exist, read_rows
from ..domains import Domains
from ..errors import DataError, SettingsError, did_you_mean
from ..run import DataSource, Run


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain and its rows."""

    name: str
    place: int  # in the order of training, from 0
    data: tuple[DataSource, ...]
    held_out: tuple[DataSource, ...] = ()  # none: it is not measured
    rest: tuple[DataSource, ...] = ()  # `data` without its memory, where that is unseen

    @property
    def trained_on(self) -> tuple[DataSource, ...]:
        return self.rest or self.data

    @property
    def folder(self) -> str:
        """Its folder's name.

        >>> Domain("kind letters", 1, ()).folder
        '02-kind-letters'
        """
        return f"{self.place + 1:02}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', self.name)}"


def names_of(asked: Domains, run: Run) -> list[str]:
    """The domains in the order of training. Reads the column of all rows where domains are told apart by one.

    Raises SettingsError or DataError where there are fewer than two, or `order` does not name them; writes nothing.
    """
    for source in [*run.data, *run.eval_data]:
        must_exist(source.path)
    if asked.column is None:
        _refuse_twice([source.path for source in run.data])
        found = _names_of_files([source.path for source in run.data])
        if len(found) > 1 and run.eval_data and len(run.eval_data) != len(run.data):
            raise SettingsError(
                f"--data names {len(run.data)} domains, and --eval-data {len(run.eval_data)} files: give one for each "
                "domain, in the same order, or tell domains apart by a column: --set domains.column=NAME."
            )
        return _in_order(found, asked)
    found = _seen(asked.column, run.data)
    held_out = _seen(asked.column, run.eval_data)
    if run.eval_data and set(found) != set(held_out):
        only, where = next(
            (name, there)
            for names, others, there in ((found, held_out, "--data"), (held_out, found, "--eval-data"))
            for name in names
            if name not in others
        )
        raise DataError(
            f"rows of {only} (column {asked.column}) are in {where} alone: what is trained is measured, and the other "
            "way round. Add such rows, or take them away."
        )
    return _in_order(found, asked)


def _in_order(found: Sequence[str], asked: Domains) -> list[str]:
    if len(found) < 2:
        hint = "" if asked.column else " or tell them apart by a column: --set domains.column=NAME,"
        raise SettingsError(
            f"domains come one after another, and there is one only ({', '.join(found)}). Give a --data file for each,"
            f"{hint} or train on it without domains, for instance: truenorth train dpo"
        )
    asked.check_count(len(found))
    for name in asked.order or ():
        if name not in found:
            raise SettingsError(
                f"domains.order names {name}, which is no domain.{did_you_mean(name, found)} There are "
                f"{', '.join(found)}."
            )
    if asked.order is not None and (left := [name for name in found if name not in asked.order]):
        raise SettingsError(f"domains.order leaves out {', '.join(left)}: name every domain, or take its rows away.")
    return list(asked.order or found)


def _refuse_twice(paths: Sequence[str]) -> None:
    """Raise SettingsError where two domains are of one file."""
    if again := [path for path, count in Counter(str(Path(path).resolve()) for path in paths).items() if count > 1]:
        twice = next(path for path in paths if str(Path(path).resolve()) == again[0])
        raise SettingsError(
            f"--data names {twice} twice, and each file is a domain: the second would have the first one's rows. Give "
            "each domain a file of its own, or tell domains apart by a column: --set domains.column=NAME."
        )


def _names_of_files(paths: Sequence[str]) -> list[str]:
    """Files without their endings; a name that comes again has a number.

    >>> _names_of_files(["a/letters.jsonl.gz", "a/tales.jsonl", "b/letters.jsonl"])
    ['letters', 'tales', 'letters-2']
    """
    names, seen = list[str](), Counter[str]()
    for path in paths:
        name = Path(path).name.split(".")[0] or Path(path).name
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _seen(column: str, sources: Iterable[DataSource]) -> list[str]:
    """The domains in the order in which they first come."""
    rows = (raw for source in sources for raw in read_rows(source.path))
    return list(dict.fromkeys(domain_of(raw, column) for raw in rows))


def domain_of(raw: RawRow, column: str) -> str:
    """What a row's column says. Raises DataError, which names the row and its columns, where it says nothing."""
    if raw.fields is None:
        raise DataError(f"{raw.file}, row {raw.row}: {raw.fault}. It cannot be told which domain it is of.")
    fields = raw.fields
    value = fields.get(column)
    if not isinstance(value, str | int) or value == "":
        raise DataError(
            f"{raw.file}, row {raw.row}: the column {column} names no domain, got {value!r}."
            f"{did_you_mean(column, fields)} The row has {', '.join(fields)}."
        )
    return str(value)


def domains_of(asked: Domains, run: Run, names: Sequence[str]) -> list[Domain]:
    """The domains with their files. Rows that a column tells apart are written to `rows/` in the run directory."""
    if asked.column is None:
        of_files = _names_of_files([source.path for source in run.data])
        places = [of_files.index(name) for name in names]
        held_out = [(run.eval_data[at],) if run.eval_data else () for at in places]
        return [
            Domain(name, place, (run.data[at],), own)
            for place, (name, at, own) in enumerate(zip(names, places, held_out, strict=True))
        ]
    empty = [Domain(name, place, ()) for place, name in enumerate(names)]
    data = _split(asked.column, run.data, empty, run.out / "rows")
    held_out = _split(asked.column, run.eval_data, empty, run.out / "rows" / "held_out")
    return [Domain(d.name, d.place, data[d.name], held_out[d.name]) for d in empty]


def _split(
    column: str, sources: Sequence[DataSource], domains: Sequence[Domain], folder: Path
) -> Mapping[str, tuple[DataSource, ...]]:
    """A file of rows for each domain and source, as they stand there."""
    found: dict[str, tuple[DataSource, ...]] = {domain.name: () for domain in domains}
    for number, source in enumerate(sources, 1):
        suffix = f"-{number}" * (len(sources) > 1)
        files = {domain.name: folder / f"{domain.folder}{suffix}.jsonl" for domain in domains}
        for name in _written(column, source.path, files):
            found[name] += (DataSource(path=str(files[name]), share=source.share),)
    return found


def _written(column: str, path: str, files: Mapping[str, Path]) -> list[str]:
    """Write each domain's rows to its file, and say which domains there are. What is there already is left alone."""
    new = {name: file.with_name(f".{file.name}.new") for name, file in files.items()}
    opened = dict[str, TextIO]()
    with ExitStack() as stack:
        for raw in read_rows(path):
            name = domain_of(raw, column)
            if name not in opened:
                new[name].parent.mkdir(parents=True, exist_ok=True)
                opened[name] = stack.enter_context(new[name].open("w", encoding="utf-8"))
            opened[name].write(json.dumps(raw.fields, ensure_ascii=False, default=str) + "\n")
    for name in opened:
        put(new[name], files[name])
    return list(opened)


def put(new: Path, file: Path) -> None:
    """Move a file to its place, unless it is there already."""
    if file.exists() and filecmp.cmp(new, file, shallow=False):
        new.unlink()  # its time stays: tokens that were made of it are found again
    else:
        new.replace(file)
