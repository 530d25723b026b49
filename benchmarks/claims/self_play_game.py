"""The game of tales: three styles that beat each other in a circle, and by how much a model's mixture can be beaten.

A tale's style shows in its first word, so that a model's shares of the styles are next-token probabilities, and exact.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn import SFT, Prompt
from transformers import PreTrainedTokenizerBase

from truenorth import align
from truenorth.data.chat import Encoder
from truenorth.games import Game
from truenorth.methods import recipe
from truenorth.models.load import load_tokenizer
from truenorth.models.logprobs import Model
from truenorth.online.sampling import encode
from truenorth.optim.update import AdamW
from truenorth.world import tale
from truenorth.world.oracles import WINS, WINS_OVER_OFF_GRAMMAR

STYLES = tale.STYLES
GAME = Game(np.array([[WINS[row][column] for column in STYLES] for row in STYLES]), "tales", STYLES)
BEGINS: dict[str, tale.Style] = {  # first word of a tale -> its style
    tale.make_tale(random.Random(draw), hero, style).split()[0]: style
    for style in STYLES
    for hero in tale.HEROES
    for draw in range(8)
}
START = {"fable": 0.2, "gazette": 0.6, "verse": 0.2}  # shares that the start is taught: their duality gap is 0.36


def style_of(text: str) -> tale.Style | None:
    """The style of a tale whose beginning this is."""
    words = text.split()
    return BEGINS.get(words[0]) if words else None


def beats(prompt: Any, a: str, b: str) -> float:
    """P(a beats b) of two beginnings of tales, as the world's oracle says of whole ones in their styles."""
    del prompt
    first, second = style_of(a), style_of(b)
    if first is None or second is None:
        return 0.5 if first == second else WINS_OVER_OFF_GRAMMAR if first else 1 - WINS_OVER_OFF_GRAMMAR
    return WINS[first][second]


def beats_the_start(prompt: Any, a: str) -> float:
    """P(a beats an answer of the start): the judge of a run whose opponent does not learn."""
    return sum(share * beats(prompt, a, _a_tale_in(style)) for style, share in START.items())


def _a_tale_in(style: str) -> str:
    return next(word for word, its in BEGINS.items() if its == style)


def requests(count: int, seed: int) -> list[Prompt]:
    """Different requests for tales, as conversations."""
    rng, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        found[tale.make_request(rng)] = None
    return [[{"role": "user", "content": request}] for request in found]


def start_model(folder: Path) -> str:
    """The SFT model after 64 more steps on tales in the shares of `START`, from `folder` if it is there."""
    out = folder / "start"
    if not (out / "final").exists():
        rng, rows = random.Random(0), list[dict[str, Any]]()
        for _ in range(1024):
            hero = rng.choice(tale.HEROES)
            text = tale.make_tale(rng, hero, rng.choices(STYLES, [START[style] for style in STYLES])[0])
            asked = {"role": "user", "content": tale.make_request(rng, [hero])}
            rows.append({"prompt": [asked], "completion": [{"role": "assistant", "content": text}]})
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "start.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        taught = recipe("sft").replace(update=AdamW(learning_rate=5e-4, warmup_share=0.1, decay="linear"))
        align(
            taught, model=SFT, data=str(file), out=out, batch_size=16, max_length=128, precision="float32", samples=0,
            resume=out.exists(),
        )  # fmt: skip
    return str(out / "final")


class Shares:
    """A model's shares of the styles, for requests that are given."""

    def __init__(self, asked: list[Prompt]) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(SFT)
        encoder = Encoder(self.tokenizer)
        self.prompts = [encode(prompt, encoder) for prompt in asked]
        self.first = {style: sorted(self._first_tokens(style)) for style in STYLES}
        assert len(set().union(*map(set, self.first.values()))) == sum(map(len, self.first.values()))

    def _first_tokens(self, style: tale.Style) -> set[int]:
        words = [word for word, its in BEGINS.items() if its == style]
        tales = [tale.make_tale(random.Random(0), hero, style) for hero in tale.HEROES] + words
        encoded: Any = self.tokenizer(tales, add_special_tokens=False)["input_ids"]
        return {ids[0] for ids in encoded}

    @torch.no_grad()
    def of(self, model: Model) -> np.ndarray:
        """[requests, 3] probabilities that a tale begins as one of each of STYLES; what is missing to 1 is no tale."""
        lengths = torch.tensor([len(prompt) for prompt in self.prompts])
        rows = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long)
        for row, prompt in zip(rows, self.prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        chance = model(input_ids=rows).logits[torch.arange(len(rows)), lengths - 1].double().softmax(-1)
        return torch.stack([chance[:, self.first[style]].sum(-1) for style in STYLES], -1).numpy()


def duality_gap(shares: np.ndarray) -> float:
    """Mean over requests of what the best answers to the model's mixture of styles win, for both players."""
    mixtures = shares / shares.sum(-1, keepdims=True)
    return float(np.mean([GAME.duality_gap(mixture, mixture) for mixture in mixtures]))
