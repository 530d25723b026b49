"""The one path from a comparison to token ids, for training, references, scoring and sampling alike.

Text: BOS as the tokenizer adds it, the prompt, the answer, EOS. Messages: the tokenizer's chat template brings all
special tokens, none are added; an answer is what the template renders behind the prompt with its generation prompt,
up to and including the end-of-turn token. Prompt and answers are tokenised apart (see `boundary`).
"""

from collections.abc import Sequence

import numpy as np

from ..errors import DataError, ModelError
from .boundary import TextTokens, Tokenizer
from .comparisons import Comparison, Text
from .problems import Problem, Refused
from .rendering import Rendered, Template
from .tokens import Ints, TokenizedRow, key_of


class Encoder:
    """Comparisons to token ids with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, *, chat_template: str | None = None, eos: bool = True) -> None:
        if eos and tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no EOS token, so plain-text answers cannot end. Set one, or eos=False."
            )
        self._tokens = TextTokens(tokenizer)
        self._template = Template(tokenizer, chat_template)
        self._eos: list[int] = [tokenizer.eos_token_id] if eos else []
        self._ends = {ids[0] for ids in self._tokens.alone(self._template.ends) if len(ids) == 1}

    def encode(self, comparisons: Sequence[Comparison]) -> list[TokenizedRow | Problem]:
        """Each comparison as tokens, or what hinders it, in their order. Tokenises all of them in a few calls."""
        rendered = [self._rendered(comparison) for comparison in comparisons]
        texts = [item for item in rendered if isinstance(item, Rendered)]
        prompts = self._prompts(texts)
        answers = iter(
            self._tokens.after(
                [item.prompt for item in texts for _ in item.responses], [r for item in texts for r in item.responses]
            )
        )
        rows: list[TokenizedRow | Problem] = []
        for comparison, item in zip(comparisons, rendered, strict=True):
            if isinstance(item, Problem):
                rows.append(item)
            else:
                rows.append(self._row(comparison, item, prompts[item], [next(answers) for _ in item.responses]))
        return rows

    def encode_texts(self, prompt: Text, responses: Sequence[Text]) -> TokenizedRow:
        """One prompt and its answers, as they would be trained on. Raises DataError if they cannot be."""
        row = self.encode([Comparison(prompt, tuple(responses), tuple(range(len(responses))), file="given", row=1)])[0]
        if isinstance(row, Problem):
            raise DataError(f"{row.reason}: {row.detail}")
        return row

    def ends_turn(self, row: TokenizedRow) -> bool:
        """Whether every answer ends with a special token, so that the model learns to stop."""
        return all(int(response[-1]) in self._ends for response in row.responses)

    def unended(self, response: Ints) -> Ints:
        """A response as `encode` gives it, without what ends its turn: it was cut off before."""
        ends = np.flatnonzero(np.isin(response, [*self._ends, *self._eos]))
        return response[: ends[-1]] if len(ends) and ends[-1] > 0 else response

    def _rendered(self, comparison: Comparison) -> Rendered | Problem:
        try:
            return self._template.render(comparison)
        except Refused as refused:
            return refused.at(comparison.file, comparison.row)

    def _prompts(self, texts: Sequence[Rendered]) -> dict[Rendered, list[int]]:
        chat, plain = [item for item in texts if item.chat], [item for item in texts if not item.chat]
        ids = self._tokens.alone([item.prompt for item in chat]) + self._tokens.begin([item.prompt for item in plain])
        return dict(zip([*chat, *plain], ids, strict=True))

    def _row(
        self, comparison: Comparison, item: Rendered, prompt: list[int], answers: Sequence[list[int] | None]
    ) -> TokenizedRow | Problem:
        file, row = comparison.file, comparison.row
        if not prompt:
            return Problem("empty_prompt", file, row, "the prompt has no tokens")
        responses: list[Ints] = []
        for ids in answers:
            if ids is None:
                return Problem("no_token_boundary", file, row)
            eos = [] if item.chat or ids[-1:] == self._eos else self._eos
            if not ids + eos:
                return Problem("empty_answer", file, row, "an answer has no tokens")
            responses.append(np.array(ids + eos, dtype=np.int32))
        start, k = np.array(prompt, dtype=np.int32), len(comparison.responses)
        return TokenizedRow(
            prompt=start,
            responses=tuple(responses[:k]),
            scores=comparison.scores,
            columns=comparison.columns,
            file=file,
            row=row,
            key=key_of(start, responses[:k]),
            degraded=tuple(responses[k:]),
        )
