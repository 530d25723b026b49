"""What the policy answered to one prompt in round after round, read from the rows of a run in rounds."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = 12  # rounds; of more every so many, with the first and the last


@dataclass(frozen=True, slots=True)
class RoundSample:
    """An answer, the first that a round drew to the prompt."""

    round: int  # 1-based
    text: str
    score: float  # the judge's reward, or the mean of its wins against the round's other answers


@dataclass(frozen=True, slots=True)
class OverRounds:
    """One prompt's answers, in the order of rounds."""

    prompt: str  # of a conversation the last message
    samples: Sequence[RoundSample]


def over_rounds(run_directory: Path) -> OverRounds | None:
    """The prompt that most rounds asked, of several the first. None where no prompt was asked in two rounds."""
    asked, answers = Counter[str](), dict[str, list[RoundSample]]()
    for number, row in _rows(run_directory / "rounds"):
        prompt = _text(row["prompt"])
        if not answers.get(prompt) or answers[prompt][-1].round != number:  # once a round
            drawn = row.get("given", 0)  # the answers before are the data's
            answers.setdefault(prompt, []).append(RoundSample(number, row["responses"][drawn], row["scores"][drawn]))
            asked[prompt] += 1
    if not asked or (most := asked.most_common(1)[0])[1] < 2:
        return None
    samples = answers[most[0]]
    last = len(samples) - 1
    count = min(SHOWN, len(samples))
    return OverRounds(most[0], [samples[round(i * last / (count - 1))] for i in range(count)])


def _rows(rounds: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with an answer of the policy's, and the numbers of their rounds. A line that a kill cut short is none.

    Rows without a log were given, and are not known to be the policy's.
    """
    for folder in sorted(rounds.glob("[0-9]*")):
        if not ((file := folder / "rows.jsonl").is_file() and (folder / "log.jsonl").exists()):
            continue
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line) if line.endswith("\n") and line.strip() else {}
                if len(row.get("scores") or ()) > row.get("given", 0):
                    yield int(folder.name), row


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
