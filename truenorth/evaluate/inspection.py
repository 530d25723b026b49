"""What would be trained on: formats, the account of every row, lengths, what packing saves, and rows as tokens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..data.boundary import Tokenizer
from ..data.checking import Sources
from ..data.layouts import Layout
from ..data.options import DataSettings
from ..data.prepare import Prepared, check, prepare
from ..data.problems import REASONS, Account
from ..data.statistics import Lengths, Statistics
from ..data.tokens import Ints, TokenizedRow, TokenizedRows
from ..data.workers import Said

SHOWN_START, SHOWN_END = 120, 60  # tokens of a long prompt or response; what lies between is counted
SHADES = ("", " underline")  # of neighbouring tokens: seen on light and dark, with sixteen colours or with millions
RESPONSE_COLOURS = ("green", "red")  # the best, and all others
DOES = {"stop": "stops the run", "drop": "dropped", "keep": "kept", "truncate": "cut"}
STYLES = {"stop": "bold red", "drop": "yellow", "keep": "green", "truncate": "yellow"}


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that `truenorth inspect` shows. Without a tokenizer there are no tokens to speak of."""

    account: Account
    layouts: tuple[Layout, ...]
    refusal: str  # why a run would not start with these rows, and what to do; empty where it would
    statistics: Statistics | None = None
    rows: TokenizedRows | None = None
    padded: int | None = None  # tokens of the same rows, padded
    batch_size: int = 0  # rows to a padded batch

    def to_dict(self) -> dict[str, Any]:
        """As JSON: account, why a run would not start, layouts, statistics, packing."""
        statistics = None if self.statistics is None else self.statistics.to_dict()
        packing = {"padded": self.padded, "packed": self.statistics.tokens} if self.statistics else None
        return {
            "account": self.account.to_dict(),
            "refusal": self.refusal or None,
            "layouts": [asdict(layout) for layout in self.layouts],
            "statistics": statistics,
            "packing": packing,
        }


def inspect(
    sources: Sources,
    settings: DataSettings,
    *,
    tokenizer: Tokenizer | None = None,
    batch_size: int = 8,
    said: Said | None = None,
) -> Inspection:
    """Read all rows and count; with a tokenizer also prepare them as a run would.

    A row that would stop the run is counted as such and left out of the rest. Raises DataError where nothing can be
    read at all.
    """
    lenient = settings.replace(refuse=False)
    if tokenizer is None:
        checked = check(sources, lenient, said=said)
        return Inspection(checked.account, checked.layouts, checked.account.refusal(settings))
    prepared: Prepared = prepare(sources, tokenizer, settings=lenient, said=said)
    return Inspection(
        prepared.account,
        prepared.layouts,
        prepared.account.refusal(settings),
        prepared.statistics,
        prepared.rows,
        padded_tokens(prepared.rows, batch_size),
        batch_size,
    )


def padded_tokens(rows: TokenizedRows, batch_size: int) -> int:
    """Tokens, padding included, of batches of `batch_size` shuffled rows in which each response, and each degraded
    version, is a row of its own behind its prompt, padded to the longest of the batch."""
    if not len(rows):
        return 0
    sequences = np.repeat(rows.prompt_lengths, rows.candidates) + rows.response_lengths
    longest = np.maximum.reduceat(sequences, rows.first[:-1])
    order = np.random.default_rng(0).permutation(len(rows))
    starts = np.arange(0, len(order), batch_size)
    most = np.maximum.reduceat(longest[order], starts).astype(np.int64)
    return int((most * np.add.reduceat(rows.candidates[order], starts)).sum()) * (1 + rows.degraded)


def draw(found: Inspection, *, tokenizer: Tokenizer | None, rows: int, colour: bool) -> RenderableType:
    """The whole inspection for a terminal, or for a file where `colour` is off."""
    parts: list[RenderableType] = [
        _title("Format"),
        *(Text(line) for layout in found.layouts for line in layout.lines),
    ]
    parts += [_title("Rows"), *_account(found)]
    if found.rows is not None and not len(found.rows):
        return Group(*parts)
    if found.statistics is None or found.rows is None:
        parts.append(Text("\nLengths, packing and tokens need a tokenizer: give --model.", style="dim"))
        return Group(*parts)
    parts += [_title("Lengths in tokens"), _lengths(found.statistics), *_bias(found.statistics)]
    parts += [_title("Packing"), *_packing(found, found.statistics)]
    for i in range(min(rows, len(found.rows))):
        row: TokenizedRow = found.rows[i]
        parts += [_title(f"{row.file}, row {row.row}"), *_row(row, tokenizer, colour=colour)]
    return Group(*parts)


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _account(found: Inspection) -> Iterator[RenderableType]:
    """How many rows were read and kept, and a line with an example for each reason."""
    account = found.account
    made = f", which make {account.made:,} rows of tokens" if account.made not in (0, account.kept) else ""
    yield Text(f"{account.read:,} rows read, {account.kept:,} can be trained on{made}.")
    if not account.reasons:
        yield Text("Nothing was found wrong with any of them.", style="green")
        return
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="bold", min_width=7)
    for name, tally in account.reasons.items():
        does = (DOES[tally.action], STYLES[tally.action])
        table.add_row(f"{tally.count:,}", Text.assemble((name, "bold"), " ", does, f": {REASONS[name].sentence}"))
        for example in tally.examples:
            table.add_row("", Text(str(example), style="dim"))
    yield table
    if found.refusal:
        yield Text(found.refusal, style="bold red")


def _lengths(statistics: Statistics) -> Table:
    table = Table("", "count", "least", "5 %", "median", "95 %", "99 %", "most", "mean", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, lengths in (
        ("prompt", statistics.prompt),
        ("chosen", statistics.chosen),
        ("rejected", statistics.rejected),
    ):
        if lengths is not None:
            table.add_row(name, *_numbers(lengths))
    return table


def _numbers(lengths: Lengths) -> Iterator[str]:
    shown = (lengths.count, lengths.least, lengths.p05, lengths.median, lengths.p95, lengths.p99, lengths.most)
    yield from (f"{value:,.0f}" for value in shown)
    yield f"{lengths.mean:,.1f}"


def _bias(statistics: Statistics) -> Iterator[Text]:
    """Whether the longer answer wins, and what to make of it."""
    bias = statistics.length_bias
    if bias is None or not bias.longer + bias.shorter:
        return
    sure = (
        "more often than chance" if bias.low > 0.5 else "less often than chance" if bias.high < 0.5 else "as by chance"
    )
    yield Text(
        f"The best answer is longer than the worst in {bias.share:.0%} of rows (95 % interval {bias.low:.0%} to "
        f"{bias.high:.0%}): {sure}. Always choosing the longer one is right in {bias.accuracy:.0%}."
    )


def _packing(found: Inspection, statistics: Statistics) -> Iterator[Text]:
    """Tokens that go through the model in one epoch: ours, with prompts repeated, and padded."""
    assert found.padded is not None
    counts = ", ".join(f"{n:,} with {k}" for k, n in statistics.candidates.items())
    yield Text(f"Answers per row: {counts}.")
    shared, repeated = statistics.tokens, statistics.tokens_unshared
    yield Text(f"{shared:>13,}  tokens an epoch, each prompt once, no padding (ours)")
    yield Text(f"{repeated:>13,}  with the prompt before each answer: sharing saves {statistics.tokens_saved:.0%}")
    yield Text(
        f"{found.padded:>13,}  padded, {found.batch_size} rows to a batch: {found.padded / shared:.1f} times ours"
    )


def _row(row: TokenizedRow, tokenizer: Tokenizer, *, colour: bool) -> Iterator[RenderableType]:
    yield Text(f"prompt, {len(row.prompt)} tokens", style="dim")
    yield Padding(tokens(row.prompt, tokenizer, colour="blue" if colour else None), (0, 0, 0, 2))
    for k, response in enumerate(row.responses):
        score = "" if row.scores is None else f", score {row.scores[k]:g}"
        name = "response" if len(row.responses) == 1 else "rejected" if k else "chosen"
        yield Text(f"{name}{score}, {len(response)} tokens", style="dim")
        shade = RESPONSE_COLOURS[min(k, 1)] if colour else None
        yield Padding(tokens(response, tokenizer, colour=shade), (0, 0, 0, 2))
        m = len(row.degraded) // len(row.responses)
        for level, version in enumerate(row.degraded[k * m : (k + 1) * m], start=1):
            yield Text(f"{name}, degraded to level {level}, {len(version)} tokens", style="dim")
            yield Padding(tokens(version, tokenizer, colour=shade), (0, 0, 0, 2))
    if row.columns:
        yield Text("  ".join(f"{name} {value:g}" for name, value in row.columns.items()), style="dim")


def tokens(ids: Ints, tokenizer: Tokenizer, *, colour: str | None) -> Text:
    """The text of `ids` with the boundaries of tokens: underlined in turn, or bars where there is no colour.

    Special tokens are reversed, or stand in their own brackets; line breaks are shown as arrows too.
    """
    special = set(tokenizer.all_special_ids)
    text = Text(overflow="fold")
    for i, (token, piece) in enumerate(pieces(ids.tolist(), tokenizer)):
        if i and colour is None:
            text.append("|")
        shown = piece.replace("\n", "⏎\n").replace("\t", "⇥\t")
        style = f"{colour} reverse" if token in special else f"{colour}{SHADES[i % 2]}"
        text.append(shown, style=style if colour and token is not None else "dim" if token is None else None)
    return text


def pieces(ids: Sequence[int], tokenizer: Tokenizer) -> Iterator[tuple[int | None, str]]:
    """Each token with its text, by what it adds to the text before it; None counts tokens left out in the middle.

    A token that is but a part of a character adds nothing until the last part: it stands as a dot.
    """
    left_out = len(ids) - SHOWN_START - SHOWN_END
    if left_out <= 1:
        yield from _pieces(ids, tokenizer)
        return
    yield from _pieces(ids[:SHOWN_START], tokenizer)
    yield None, f" [... {left_out} tokens ...] "
    yield from _pieces(ids[-SHOWN_END:], tokenizer)


def _pieces(ids: Iterable[int], tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    before, seen = "", list[int]()
    for token in ids:
        seen.append(token)
        now = str(tokenizer.decode(seen, skip_special_tokens=False, clean_up_tokenization_spaces=False)).rstrip("�")
        yield token, now[len(before) :] or "·"
        before = now
