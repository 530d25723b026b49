"""Align the embedded world's SFT model with EXO, from Python: `python examples/align_world.py OUT`."""

import sys

from truenorth import align, world
from truenorth.methods import exo

if __name__ == "__main__":
    result = align(
        exo.reward_recipe(learning_rate=5e-4),
        model=str(world.sft_model()),
        data=str(world.reviews()),
        eval_data=str(world.reviews_eval()),
        out=sys.argv[1],
        batch_size=32,
        max_steps=int(sys.argv[2]) if len(sys.argv) > 2 else 16,
    )
    print(result.report)
