"""Games and policies for Hypothesis to draw."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from truenorth.games import Game
from truenorth.games.policies import normalised

probabilities = st.integers(0, 100).map(lambda n: n / 100)  # ties, certain wins and all between


@st.composite
def games(draw: st.DrawFn, least: int = 2, most: int = 5) -> Game:
    size = draw(st.integers(least, most))
    wins = np.full((size, size), 0.5)
    for i in range(size):
        for j in range(i):
            wins[i, j] = draw(probabilities)
            wins[j, i] = 1 - wins[i, j]
    return Game(wins)


def log_policies(size: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """[A] nats, every action possible."""
    return st.lists(st.floats(-5, 0), min_size=size, max_size=size).map(lambda row: normalised(np.array(row)))
