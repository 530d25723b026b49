"""Rounds of self-play in words: a line for each on the terminal, and what all of them did for the headline."""

from collections.abc import Iterator, Sequence

from ..train.evidence import Record, number, percent, short

SPAN = "\u202f"  # narrow, as between a number and its unit
BEFORE_WINS: tuple[tuple[str, str], ...] = (  # metric, and the words around it
    ("rewards/judge", "the judge's mean score {:.3f}"),
    ("wins/opponent", "wins {:.0%} against its opponent"),
    ("pairs/left_out", "{:.0f} pairs left out"),
)
WINS = (("wins/initial", "the start"), ("wins/previous", "the round before"))
BEHIND_WINS: tuple[tuple[str, str], ...] = (
    ("lengths/sampled", "{:.0f} tokens an answer"),
    ("seconds/sampling", "drawn in {:.1f} s"),
    ("seconds/judging", "judged in {:.1f} s"),
    ("comparisons", "{:.0f} more prompts compared with earlier rounds"),
    ("seconds/comparing", "in {:.1f} s"),
    ("seconds", "trained for {:.1f} s so far"),
)


def of_round(record: Record) -> str:
    """What was drawn in a round, in one line; counts and seconds of 0 are not said, scores and wins are.

    >>> of_round({"round": 2.0, "rows": 64.0, "left_out": 0.0, "rewards/judge": 0.4, "seconds/sampling": 1.7})
    "Round 2: 64 prompts, the judge's mean score 0.400, drawn in 1.7 s"
    """
    parts = [*_prompts_of(record), *_parts(record, BEFORE_WINS), *_wins(record), *_parts(record, BEHIND_WINS)]
    return f"Round {record.get('round'):.0f}: {', '.join(parts)}"


def _prompts_of(record: Record) -> Iterator[str]:
    """How many made a row, how many did not, and why not."""
    rows, left_out = number(record.get("rows")), number(record.get("left_out"))
    if rows > 0:
        yield f"{rows:.0f} prompts"
    if (answers := number(record.get("given/answers"))) > 0:
        yield f"{answers:.0f} answers, taken from rows.jsonl as it was there"
    if left_out > 0:
        why, log = record.get("left_out/why"), f"rounds/{number(record.get('round')):04.0f}/log.jsonl"
        yield f"{left_out:.0f} left out" + (f" (most often because: {why}; {log})" if why else "")


def _parts(record: Record, shown: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, words in shown:
        value = record.get(name)
        if isinstance(value, float) and (value or name.startswith(("rewards/", "wins/"))):
            yield words.format(value)


def _wins(record: Record) -> Iterator[str]:
    """How the round does against earlier ones, and where too few prompts say it."""
    told = [(metric, whom) for metric, whom in WINS if metric in record]
    for place, (metric, whom) in enumerate(told):
        low, high, count = (number(record.get(f"{metric}/{of}")) for of in ("low", "high", "count"))
        interval = f" ({count:.0f} prompts, 95%: {100 * low:.0f} to {high:.0%})" if count == count else ""
        yield f"{'' if place else 'wins '}{number(record[metric]):.0%} against {whom}{interval}"
    few = [(record.get(f"{metric}/count"), whom) for metric, whom in WINS if metric not in record]
    if said := [f"{count:.0f} with {whom}" for count, whom in few if isinstance(count, float)]:
        yield f"too few shared prompts to tell wins ({', '.join(said)})"


def headline(title: str, records: Sequence[Record]) -> str | None:
    """What the rounds of a run did; None where it had none, or a single one, which nothing can be compared with.

    Scores of a judge that gives rewards are compared with the first round's. Of one that compares answers they would
    be 1/2 in every round, and the wins against the first round are told. A round that was given is compared with none.
    """
    rounds = [record for record in records if record.get("split") == "round"]
    played = [record for record in rounds if "given/answers" not in record]
    last = played[-1] if len(played) > 1 else {}
    if "wins/initial/count" in last and "rewards/gain" not in last:
        return f"{title} {_wins_of(last)}"
    scored = [record for record in played if "rewards/judge" in record]
    if len(scored) < 2:
        return None
    first, end = (short(number(record["rewards/judge"])) for record in (scored[0], scored[-1]))
    if len(scored) == len(rounds):
        return f"{title} took the judge's mean from {first} to {end} in {len(rounds)} rounds{_gain(last)}"
    where = [f"{number(record.get('round')):.0f}" for record in (scored[0], scored[-1])]
    return f"{title} took the judge's mean from {first} in round {where[0]} to {end} in round {where[1]}"


def _wins_of(last: Record) -> str:
    """Against the first round's answers."""
    of = f"round {number(last.get('round')):.0f}"
    if (told := wins_against_start(last)) is None:
        count = _prompts(number(last["wins/initial/count"]))
        return f"came to {of}, whose wins against the start are not known: only {count} can be compared"
    return f"wins {told[0]} against the start in {of} ({told[1]}, {told[2]})"


def wins_against_start(last: Record) -> tuple[str, str, str] | None:
    """Of a round's record: its wins against the first round's answers, their interval, and on how many prompts."""
    if "wins/initial/low" not in last:
        return None
    win, low, high, count = (number(last[f"wins/initial{of}"]) for of in ("", "/low", "/high", "/count"))
    return percent(win), f"95{SPAN}%: {100 * low:.0f} to {percent(high)}", _prompts(count)


def _gain(last: Record) -> str:
    """How sure the difference of the last round and the first is, and where they asked different prompts."""
    if "rewards/gain" not in last:  # a run of before
        return ""
    low, high = (number(last.get(f"rewards/gain/{end}")) for end in ("low", "high"))
    ends = f", 95{SPAN}%: {short(low)} to {short(high)}" if low == low else ""
    count = number(last.get("rewards/gain/count"))
    prompts = f"on {_prompts(count)} that both asked" if count == count else "of different prompts"
    return f" (by {short(number(last['rewards/gain']))}{ends}, {prompts})"


def _prompts(count: float) -> str:
    return f"{count:.0f} prompt{'s' * (count != 1)}"
