"""Log-probs of packed responses under one model: prompts shared where that is exact, padded rows elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from ..data.packing import PackedBatch, by_version
from ..errors import ModelError
from ..types import NOTHING, LogProbs, Measure, Measures
from .attention import PackedMask
from .head import MEASURES, Head, head_of, is_plain, scores_of

Model = PreTrainedModel | PeftModel
PADDING = 0.25  # of the tokens in rows that are padded together


@dataclass(frozen=True, slots=True)
class Scorer:
    """How log-probs are computed under a model. `models.probe.scorer_for` chooses, by trying.

    A shared scorer expects to be called within `packed_attention(model)`, or on a model switched to it for good.
    """

    model: Model
    head: Head | None  # None: the model's own logits, whole
    shared: bool  # prompts stand once; False: padded rows
    fallback: str = ""  # why not shared, for the user
    entry: Callable[[PackedBatch, Measures], tuple[Tensor, ...]] | None = None  # `token_scores` of shards
    one_call: bool = False  # padded rows stay together: other processes wait for each call of the model

    def __call__(self, batch: PackedBatch, asked: Measures = NOTHING) -> LogProbs:
        """Score every response of `batch`: [B, K] totals in float32 nats, lengths in tokens, and what is `asked`."""
        if "logits" in asked:
            return self._with_logits(batch, asked)
        return by_response((self.entry or self.token_scores)(batch, asked), batch, asked)

    def _with_logits(self, batch: PackedBatch, asked: Measures) -> LogProbs:
        """The same, and what gives the logits of the next-token distributions."""
        if self.head is None or self.entry is not None or not is_plain(self.head.module):
            why = self.fallback if self.head is None else "its LM head carries an adapter or is shared out"
            raise ModelError(
                f"the method compares whole next-token distributions, which this model does not give: {why}. Take a "
                "method that reads log-probs alone (rloo, sppo, inpo), or leave the head out of --lora."
            )
        head, hidden = self.head, self._states(batch)
        found = by_response(head.token_scores(hidden, batch.targets, _in_order(asked)), batch, asked)

        def logits(chunk: slice) -> Tensor:
            return head.logits(hidden[chunk])

        return replace(found, logits=logits)

    def _states(self, batch: PackedBatch) -> Tensor:
        """[N, D] hidden states that the response tokens are predicted from, in the batch's order."""
        if self.shared:
            return self._packed_hidden(batch)[batch.predictor]
        sequences, targets = unpack(batch), _targets(batch)
        found: dict[int, Tensor] = {}
        for part in self._parts([len(sequence) for sequence in sequences]):
            together, here = [sequences[i] for i in part], [targets[i] for i in part]
            rows, real = _pad(together)
            states = self._padded_hidden(rows, real).flatten(0, 1)[_places(together, here, rows.shape[1])]
            found |= zip(part, states.split([len(target) for target in here]), strict=True)
        return torch.cat([found[i] for i in range(len(sequences))])

    def _parts(self, sizes: Sequence[int]) -> list[list[int]]:
        """Places of the sequences that are padded together."""
        return [list(range(len(sizes)))] if self.one_call else alike(sizes)

    def on(self, model: Model) -> "Scorer":
        """The same way of scoring for a copy of the model, with the copy's own head."""
        return replace(self, model=model, head=None if self.head is None else head_of(base_of(model)))

    def token_scores(self, batch: PackedBatch, asked: Measures = NOTHING) -> tuple[Tensor, ...]:
        """[N] float32 nats, one per response token, in the batch's order; then [N] for each of `MEASURES` asked."""
        if self.shared:
            assert self.head is not None
            return self.head.token_scores(self._states(batch), batch.targets, _in_order(asked))
        return self._by_sequence(batch, asked)[0]

    def with_states(self, batch: PackedBatch, asked: Measures = NOTHING) -> tuple[tuple[Tensor, ...], Tensor]:
        """What `token_scores` gives, and [B, K, 1 + M, D] the hidden states at the batch's `last` inputs."""
        assert batch.last is not None, "the batch has degraded versions"
        if self.shared:
            assert self.head is not None
            hidden = self._packed_hidden(batch)
            scores = self.head.token_scores(hidden[batch.predictor], batch.targets, _in_order(asked))
            return scores, hidden[batch.last]
        scores, states = self._by_sequence(batch, asked, states=True)
        return scores, by_version(states.view(batch.prompts, -1, states.shape[-1]), batch.candidates)

    def last_states(self, batch: PackedBatch) -> Tensor:
        """[B, K, D] hidden states at the last token of each whole answer (see `data.ends`), and nothing else."""
        assert batch.last is not None
        if self.shared:
            return self._packed_hidden(batch)[batch.last[..., 0]]
        sequences = unpack(batch)
        sizes = [len(sequence) for sequence in sequences]
        found: dict[int, Tensor] = {}
        for part in self._parts(sizes):
            rows, real = _pad([sequences[i] for i in part])
            hidden = self._padded_hidden(rows, real)
            found |= zip(part, hidden[torch.arange(len(rows), device=rows.device), real.sum(1) - 1], strict=True)
        return torch.stack([found[i] for i in range(len(sizes))]).unflatten(0, (batch.prompts, -1))

    def _padded_hidden(self, rows: Tensor, real: Tensor) -> Tensor:
        """[S, L, D] hidden states after the last layer."""
        if self.head is None:
            output = self.model(input_ids=rows, attention_mask=real, use_cache=False, output_hidden_states=True)
            return output.hidden_states[-1]
        return backbone(self.model)(input_ids=rows, attention_mask=real, use_cache=False).last_hidden_state

    def _by_sequence(
        self, batch: PackedBatch, asked: Measures, *, states: bool = False
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """`token_scores` from padded rows, and if wanted [S, D] the state at each sequence's last input."""
        sequences, targets = unpack(batch), _targets(batch)
        sizes = [len(sequence) for sequence in sequences]
        found: dict[int, Tensor] = {}
        last: dict[int, Tensor] = {}
        for part in self._parts(sizes):
            here = [targets[i] for i in part]
            scored, ends = self._padded([sequences[i] for i in part], here, asked, states=states)
            found |= zip(part, scored.split([len(t) for t in here], dim=1), strict=True)
            last |= zip(part, ends, strict=False)
        order = range(len(sizes))
        scores = torch.cat([found[i] for i in order], dim=1)
        return scores.unbind(), torch.stack([last[i] for i in order]) if states else scores[:, :0]

    def _padded(
        self, sequences: Sequence[Tensor], targets: Sequence[Tensor], asked: Measures, *, states: bool
    ) -> tuple[Tensor, Tensor]:
        """Nats of each sequence's targets, which its last inputs predict, above what is asked of them,
        [1 + asked, all targets]; [S, D] the last states."""
        rows, real = _pad(sequences)
        places = _places(sequences, targets, rows.shape[1])
        wanted, ends = torch.cat(list(targets)), real.sum(1) - 1
        if self.head is None:
            output = self.model(input_ids=rows, attention_mask=real, use_cache=False, output_hidden_states=states)
            scores = scores_of(output.logits.flatten(0, 1)[places].float(), wanted, _in_order(asked))
            hidden = output.hidden_states[-1] if states else rows[..., None]
        else:
            hidden = self._padded_hidden(rows, real)
            scores = self.head.token_scores(hidden.flatten(0, 1)[places], wanted, _in_order(asked))
        return torch.stack(scores), hidden[torch.arange(len(rows), device=rows.device), ends]

    def _packed_hidden(self, batch: PackedBatch) -> Tensor:
        """[T, D] hidden states after the last layer."""
        mask = PackedMask.of(batch.layout, batch.tokens.device)
        output = backbone(self.model)(
            input_ids=batch.tokens[None], position_ids=batch.positions[None], attention_mask=mask, use_cache=False
        )
        return output.last_hidden_state[0]


def by_response(scores: Sequence[Tensor], batch: PackedBatch, asked: Measures) -> LogProbs:
    """What `token_scores` gives, [N] each -> per response."""
    nats, *measured = scores
    sums: dict[str, Tensor] = {
        name: total_by_response(values, batch).total for name, values in zip(_in_order(asked), measured, strict=True)
    }
    found = total_by_response(nats, batch)
    return replace(found, tokens=nats, **sums) if "tokens" in asked else replace(found, **sums)


def _in_order(asked: Measures) -> tuple[Measure, ...]:
    """What is asked of the distributions, in the order in which it is given."""
    return tuple(measure for measure in MEASURES if measure in asked)


def total_by_response(token_log_probs: Tensor, batch: PackedBatch) -> LogProbs:
    """[N] nats per token -> [B, K] nats per response."""
    zeros = torch.zeros(batch.length.numel(), dtype=torch.float64, device=token_log_probs.device)
    total = zeros.index_add(0, batch.owner, token_log_probs.double())  # float32 would lose 1e-4 in 250 terms
    return LogProbs(total.float().view(batch.length.shape), batch.length)


def base_of(model: Model) -> PreTrainedModel:
    """The transformers model, without PEFT's wrapper. Its adapted layers stay adapted."""
    return model.get_base_model() if isinstance(model, PeftModel) else model  # pyright: ignore[reportReturnType]


def backbone(model: Model) -> torch.nn.Module:
    """The model below its LM head."""
    base = base_of(model)
    return getattr(base, base.base_model_prefix)


def unpack(batch: PackedBatch) -> list[Tensor]:
    """The inputs of each response, prompt first and without its last token: B*K tensors of [prompt + response - 1].

    Degraded versions stand behind the K responses of their prompt.
    """
    layout, sequences = batch.layout, list[Tensor]()
    for group, prompt, responses in zip(
        batch.tokens.split(layout.groups), layout.prompts, layout.responses, strict=True
    ):
        first, *rest = group.split([prompt, *responses])
        sequences.extend(torch.cat([first, response]) for response in rest)
    return sequences


def alike(sizes: Sequence[int]) -> list[list[int]]:
    """Places of sequences of like sizes together, the shortest first: padding adds at most a share of PADDING.

    >>> alike([10, 100, 9, 95, 11])
    [[2, 0, 4], [3, 1]]
    """
    parts: list[list[int]] = []
    total = 0
    for i in sorted(range(len(sizes)), key=sizes.__getitem__):
        if not parts or sizes[i] * (len(parts[-1]) + 1) > (1 + PADDING) * (total + sizes[i]):
            parts.append([])
            total = 0
        parts[-1].append(i)
        total += sizes[i]
    return parts


def _pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[S, L] inputs padded on the right, [S, L] which of them are real.

    What follows a token cannot change it in a causal model, so padding on the right is exact, also in recurrent
    layers.
    """
    rows = pad_sequence(list(sequences), batch_first=True)
    return rows, pad_sequence([torch.ones_like(sequence) for sequence in sequences], batch_first=True)


def _places(sequences: Sequence[Tensor], targets: Sequence[Tensor], width: int) -> Tensor:
    """Flat places of the inputs that predict each target, in rows of `width` inputs."""
    device = sequences[0].device
    places = [
        torch.arange(len(sequence) - len(target), len(sequence), device=device) + s * width
        for s, (sequence, target) in enumerate(zip(sequences, targets, strict=True))
    ]
    return torch.cat(places)


def _targets(batch: PackedBatch) -> list[Tensor]:
    """The targets of each sequence of `unpack`: none for degraded versions."""
    k, inputs = batch.candidates, batch.layout.responses
    lengths = [n + 1 for of_prompt in inputs for n in of_prompt[:k]]  # + 1: the last token is no input
    of_responses = iter(batch.targets.split(lengths))
    return [next(of_responses) if i < k else batch.targets[:0] for of_prompt in inputs for i in range(len(of_prompt))]
