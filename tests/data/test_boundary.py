from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.tokenizers import byte_level, metaspace, unigram, word_piece
from truenorth.data.boundary import TextTokens

Make = Callable[[], PreTrainedTokenizerFast]
LOSSLESS: list[Make] = [byte_level, metaspace, unigram]
# letters that all of the tokenizers know, with white space and merges to cross
TEXTS = st.text("abc the question:.?\n1", min_size=1, max_size=12)


def joined(tokenizer: PreTrainedTokenizerFast, prompt: str, text: str) -> str:
    tokens = TextTokens(tokenizer)
    (start,), (end,) = tokens.begin([prompt]), tokens.after([prompt], [text])
    assert end is not None
    return tokenizer.decode(start + end)


@pytest.mark.parametrize("make", LOSSLESS)
@given(prompt=TEXTS, text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_prompt_and_answer_together_decode_to_their_texts(make: Make, prompt: str, text: str) -> None:
    tokenizer = make()
    assert joined(tokenizer, prompt, text) == tokenizer.decode(tokenizer(prompt + text)["input_ids"])


@pytest.mark.parametrize("make", LOSSLESS)
@given(prompt=TEXTS, text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_the_answers_tokens_hold_no_text_but_the_answer(make: Make, prompt: str, text: str) -> None:
    tokenizer = make()
    tokens = TextTokens(tokenizer)
    (start,), (end,) = tokens.begin([prompt]), tokens.after([prompt], [text])
    assert end is not None
    assert tokenizer.decode(start + end)[len(tokenizer.decode(start)) :] == text


@pytest.mark.parametrize("make", LOSSLESS)
def test_an_answer_whose_letters_merge_with_the_prompts_stays_apart(make: Make) -> None:
    tokenizer = make()
    whole = tokenizer("Question", add_special_tokens=False)["input_ids"]
    apart = TextTokens(tokenizer).alone(["Quest"])[0] + (TextTokens(tokenizer).after(["Quest"], ["ion"])[0] or [])
    assert len(apart) > len(whole)
    assert tokenizer.decode(apart) == tokenizer.decode(whole)


def test_a_tokenizer_that_adds_no_space_needs_no_anchor() -> None:
    assert not TextTokens(byte_level()).anchored


def test_a_tokenizer_that_puts_a_space_before_a_text_is_anchored() -> None:
    assert TextTokens(metaspace()).anchored


def test_the_prompt_decides_nothing_but_the_boundary_of_a_word_piece_tokenizer() -> None:
    tokenizer = word_piece()
    assert joined(tokenizer, "Question: what is it?", "no idea") == "<s> question : what is it? no idea"


def test_bos_stands_before_the_prompt() -> None:
    assert TextTokens(metaspace()).begin(["a"])[0][0] == metaspace().bos_token_id


def test_bos_that_the_text_already_has_is_not_doubled() -> None:
    tokenizer = metaspace()
    assert TextTokens(tokenizer).begin(["<s> a"])[0].count(tokenizer.bos_token_id) == 1


def test_eos_that_a_tokenizer_puts_behind_a_text_is_not_in_the_prompt() -> None:
    tokenizer = word_piece()
    assert tokenizer.eos_token_id not in TextTokens(tokenizer).begin(["a"])[0]


def test_an_empty_answer_has_no_tokens() -> None:
    assert TextTokens(metaspace()).after(["a"], [""]) == [[]]


@pytest.mark.parametrize("make", [*LOSSLESS, word_piece])
@given(texts=st.lists(TEXTS, max_size=4), special=st.sampled_from(["", "<s>", "</s>", "<|im_end|>"]))
@settings(max_examples=60, deadline=None)
def test_the_ids_are_those_that_the_tokenizer_gives(make: Make, texts: list[str], special: str) -> None:
    tokenizer, given = make(), [*texts, special + "a" + special]
    assert TextTokens(tokenizer).alone(given) == tokenizer(given, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_left_set_to_pad_or_cut_does_neither_to_rows() -> None:
    tokenizer = byte_level()
    tokens, texts = TextTokens(tokenizer), ["the question", "a"]
    wanted = tokens.alone(texts)
    tokenizer(texts, padding=True, truncation=True, max_length=1)
    assert tokens.alone(texts) == wanted
