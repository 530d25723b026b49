"""Answers that a policy draws: reward, grammar, how far they are from the start, how much they vary."""

from collections.abc import Sequence

import numpy as np
from drawn import LONGEST, SFT, Prompt
from measured import answer_kl

from truenorth import world
from truenorth.data.chat import Encoder
from truenorth.models.load import load_tokenizer
from truenorth.models.logprobs import Model
from truenorth.online.sampler import generate
from truenorth.online.sampling import Sampling, encode
from truenorth.world import review
from truenorth.world.oracles import request_of

ANSWERS = 4  # to each request
SEED = 1000  # of the draws, which no run has


class Answers:
    """A model that policies are compared with, and the requests that they are asked."""

    def __init__(self, start: Model, asked: Sequence[Prompt]) -> None:
        self.start, self.asked, self.tokenizer = start, asked, load_tokenizer(SFT)

    def of(self, model: Model) -> dict[str, float]:
        """reward    of reviews, mean; off: share of the answers that the grammar does not make
        kl          KL(policy || start), nats per answer
        distinct    share of the pairs of a request's answers that differ
        entropy     nats per answer, - log pi of what was drawn
        """
        sampling = Sampling(max_new_tokens=LONGEST, k=ANSWERS, seed=SEED)
        drawn = generate(model, self.tokenizer, prompts=self.asked, sampling=sampling)
        encoder, texts = Encoder(self.tokenizer), [[answer.text for answer in answers] for answers in drawn]
        sequences = [
            (encode(prompt, encoder), answer.tokens)
            for prompt, answers in zip(self.asked, drawn, strict=True)
            for answer in answers
        ]
        pairs = [a != b for answers in texts for i, a in enumerate(answers) for b in answers[i + 1 :]]
        both = [(prompt, text) for prompt, answers in zip(self.asked, texts, strict=True) for text in answers]
        of_reviews = review.subject(request_of(self.asked[0])) is not None
        return {
            "kl": float(answer_kl(model, self.start, sequences).mean()),
            "distinct": float(np.mean(pairs)),
            "entropy": -float(np.mean([sum(answer.log_probs or ()) for answers in drawn for answer in answers])),
            "off": float(np.mean([not world.grammatical(prompt, text) for prompt, text in both])),
        } | ({"reward": float(np.mean([world.review_reward(p, t) for p, t in both]))} if of_reviews else {})
