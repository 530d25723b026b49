"""Small real tokenizers, trained in memory, whose merges cross word and answer boundaries."""

from functools import lru_cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEXT = [
    "Question: what is the sum of one and two? Answer: three.",
    "Question:what is it?Answer:no idea\n\nHuman: hello there\n\nAssistant: hello, how are you?",
    "user assistant system tool hello world the answer is 42, and the question is why",
    "aaa aaab abab abc bca: a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9",
] * 4

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@lru_cache
def byte_level(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Like GPT-2's and Qwen's: lossless, no BOS."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _wrapped(inner, trainer, chat_template)


@lru_cache
def metaspace(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Like Llama's and Mistral's of sentencepiece: a space before whatever it is given, bytes for the unknown, BOS."""
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [AddedToken(f"<0x{byte:02X}>", special=False, normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*SPECIAL, *bytes_], limit_alphabet=80, show_progress=False
    )
    return _wrapped(inner, trainer, chat_template, front="<s>")


@lru_cache
def unigram(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Like T5's and XLNet's: pieces by likelihood, a space before whatever it is given."""
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    return _wrapped(inner, trainer, chat_template, front="<s>")


@lru_cache
def word_piece(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Like BERT's: loses case and spaces, marks continued words, ends every text with its own EOS."""
    inner = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=100))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    return _wrapped(inner, trainer, chat_template, front="<s>", back="</s>")


def _wrapped(
    inner: Tokenizer, trainer: trainers.Trainer, chat_template: str | None, *, front: str = "", back: str = ""
) -> PreTrainedTokenizerFast:
    inner.train_from_iterator(TEXT, trainer)
    if front or back:
        special = [(token, inner.token_to_id(token)) for token in (front, back) if token]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{front} $A {back}".strip(), pair=f"{front} $A $B {back}".strip(), special_tokens=special
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = chat_template
    return tokenizer
