import pytest

from truenorth.evaluate.page import flat, linked, say


def test_an_arxiv_number_becomes_a_link_and_nothing_else_does() -> None:
    assert linked("Ji <b>, arXiv:2402.00856, https://evil.example") == (
        'Ji &lt;b&gt;, <a href="https://arxiv.org/abs/2402.00856">arXiv:2402.00856</a>, https://evil.example'
    )


def test_nested_settings_are_shown_by_their_dotted_path() -> None:
    settings = {"data": [{"path": "a.jsonl", "share": 0.5}], "update": {"betas": [0.9, 0.999]}, "lora": None}
    assert flat(settings) == [
        ("data[0].path", "a.jsonl"),
        ("data[0].share", "0.5"),
        ("update.betas", "0.9, 0.999"),
        ("lora", "none"),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(1.25e-6, "1.25e-6"), (0.0003141, "0.0003141"), (True, "yes"), (None, "none"), (2048, "2,048")]
)
def test_a_setting_is_shown_exactly(value: object, text: str) -> None:
    assert say(value) == text
