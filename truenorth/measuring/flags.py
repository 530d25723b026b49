"""The flags of `truenorth judge` and `truenorth evaluate`."""

from dataclasses import replace

from ..flags import FLAGS, GENERATE, SAMPLING, Flag

_GENERATE = {flag.name: flag for flag in GENERATE}
_TRUST = replace(next(flag for flag in FLAGS if flag.name == "trust-remote-code"), path="trust_remote_code",
                 help="run the model repository's own Python code", panel="Options", kind="boolean")  # fmt: skip

SIDES = "Sides"
JUDGE: tuple[Flag, ...] = (
    Flag("model", "model", "the model whose answers are judged", "MODEL", panel=SIDES, short="-m"),
    Flag("answers", "answers", "or its answers: rows with `prompt` and `responses`", "FILE", panel=SIDES),
    Flag("against", "against", "the other side: a model, or a file of answers", "MODEL|FILE", panel=SIDES),
    Flag("prompts", "prompts", "what models answer: .txt (one a line), or .jsonl with `prompt`", "FILE", panel=SIDES),
    Flag("judge", "judge", "world, reward, preference, chat, person, or a function", "KIND|MODULE:F", panel=SIDES),
    Flag("out", "out", "folder of answers, verdicts and the page; go on with what is there", "DIR", panel=SIDES,
         short="-o"),
    Flag("plain", "plain", "leave the chat template out", panel=SIDES, kind="boolean"),
    *(replace(_GENERATE[name], panel=SAMPLING) for name in ("k", "temperature", "top-p", "max-new-tokens", "seed")),
    _TRUST,
)  # fmt: skip
WHAT, HOW = "What is measured", "Options"
EVALUATE: tuple[Flag, ...] = (
    Flag("model", "model", "a model, an adapter, or a reward or preference model", "MODEL", panel=HOW, short="-m"),
    Flag("reference", "reference", "what it is compared with: the model before", "MODEL", panel=HOW),
    Flag("data", "data", "held-out preferences: accuracy, margin, calibration", "DATA ...", panel=WHAT, short="-d"),
    Flag("prompts", "prompts", "prompts to answer: the KL to --reference (default those of --data)", "FILE",
         panel=WHAT),
    Flag("texts", "texts", "held-out texts: log-prob per token and per byte", "DATA", panel=WHAT),
    Flag("facts", "facts", "questions with one right answer: world, the embedded world's", "world", panel=WHAT),
    Flag("tasks", "tasks", "tasks of lm-eval, if that is installed", "NAME,...", panel=WHAT),
    Flag("out", "out", "folder of the page and the numbers", "DIR", panel=HOW, short="-o"),
    Flag("beta", "beta", "of the implicit reward", "X", "the run's, else 0.1", HOW),
    Flag("subset-column", "subset_column", "column by which rows are grouped", "COLUMN", "subset", HOW),
    Flag("samples", "samples", "prompts that are answered for the KL", "N", "128", HOW),
    Flag("max-length", "max_length", "rows with longer answers are left out", "TOKENS", "4096", HOW),
    Flag("max-new-tokens", "max_new_tokens", "of an answer that is drawn", "N", "128", HOW),
    Flag("seed", "seed", "of the answers that are drawn", "N", "0", HOW),
    _TRUST,
)  # fmt: skip
