import torch

from truenorth.models.attention import visible

CPU = torch.device("cpu")


def test_a_response_sees_its_prompt_and_itself_only() -> None:
    allowed = visible(2, (2, 1), None, CPU).int().tolist()
    assert allowed == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_a_window_counts_positions_not_places_in_the_packed_row() -> None:
    allowed = visible(2, (2, 2), 2, CPU)
    # The second response's first token is at position 2: with a window of 2 it sees position 1, the prompt's last.
    assert allowed[4].int().tolist() == [0, 1, 0, 0, 1, 0]


def test_every_token_sees_at_least_itself() -> None:
    assert visible(3, (0, 4, 1), 1, CPU).diagonal().all()
