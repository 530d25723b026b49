"""All that `truenorth evaluate` measures, part by part; what lies on disk already is not computed again."""

from pathlib import Path
from typing import Any

from ..data.cache import cache_folder
from ..data.tokens import TokenizedRows
from ..errors import ModelError, SettingsError, did_you_mean
from ..evaluate.findings import Findings
from ..evaluate.forgetting import Texts, bytes_of, texts_of
from ..evaluate.held_out_rows import read_answers, read_texts
from ..evaluate.progress import Silent, Watch
from ..evaluate.subject import Subject
from ..judge import judge_of
from ..models.load import config_of, context_of, load_tokenizer
from ..online.judge import open_judge
from .answered import facts, kl
from .asked import Asked
from .ranked import PAIRED, of_judge, of_language_model
from .ranked import texts as as_text
from .tasks import results


def measure(model: str | Path, *, watch: Watch | None = None, **what: Any) -> Findings:
    """What `truenorth evaluate` measures of a model; `what` are its flags, as the settings of `Asked`.

    Raises SettingsError, ModelError or DataError for what is not there or does not fit, before a model is loaded.

    measure("runs/exo/final", reference="my-sft", data=["held_out.jsonl"], texts="texts.jsonl").to_dict()
    """
    if unknown := sorted(set(what) - set(Asked.model_fields)):
        raise SettingsError(f"measure has no {unknown[0]!r}.{did_you_mean(unknown[0], Asked.model_fields)}")
    many: dict[str, Any] = {n: (what[n],) for n in ("data", "tasks") if isinstance(what.get(n), str)}
    asked = Asked(model=str(model), **{**what, **many})
    asked.check()
    return findings(asked, watch or Silent())


def findings(asked: Asked, watch: Watch) -> Findings:
    """What was asked, measured. Raises DataError, ModelError or SettingsError for what cannot be."""
    if not asked.is_judge:
        return _of_language_model(asked, watch)
    files = {path: as_text(path, watch.stage) for path in asked.data}
    watch.stage(f"loading {asked.model}")
    judge = open_judge(judge_of(f"{asked.kind_of_judge}:{asked.model}", trust_remote_code=asked.trust_remote_code))
    return Findings(asked.model, None, ranked=of_judge(asked, files, judge, watch.stage))


def _of_language_model(asked: Asked, watch: Watch) -> Findings:
    """The parts in the order of the page; the model is loaded when the first of them needs it."""
    subject, reference = _subjects(asked, watch)
    length = min(
        asked.max_length, context_of(asked.model, trust_remote_code=asked.trust_remote_code) or asked.max_length
    )
    prompts = asked.prompts is not None or bool(asked.data)
    if reference is None and (asked.data or asked.texts or asked.facts):
        start = asked.started_from
        hint = f" The run started from {start}: --reference {start}" if start is not None else ""
        watch.said(f"There is no --reference, so nothing is compared, and no log-ratio or KL is measured.{hint}")
    watch.stage("reading the data")
    tokenizer = subject.tokenizer  # all files are read before a model is loaded
    files = {
        path: read_answers(path, tokenizer, answers=PAIRED, max_length=length, given="--data") for path in asked.data
    }
    texts = None if asked.texts is None else read_texts(asked.texts, tokenizer, max_length=length, given="--texts")
    return Findings(
        asked.model,
        asked.reference,
        ranked=of_language_model(asked, files, subject, reference) if asked.data else None,
        kl=kl(asked, subject, reference, length) if reference is not None and prompts else None,
        texts=None if texts is None else _texts(texts, subject, reference),
        facts=facts(subject, reference) if asked.facts is not None else None,
        tasks=results(asked) if asked.tasks else {},
    )


def _subjects(asked: Asked, watch: Watch) -> tuple[Subject, Subject | None]:
    """The model and its reference. Raises ModelError where their vocabularies differ."""
    trust, cache = asked.trust_remote_code, cache_folder() / "evaluated"
    tokenizer = load_tokenizer(asked.model, trust_remote_code=trust)
    subject = Subject(asked.model, tokenizer, cache, trust, watch.stage)
    if asked.reference is None:
        return subject, None
    sizes = [
        config_of(path, trust_remote_code=trust).get_text_config().vocab_size
        for path in (asked.model, asked.reference)
    ]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"the reference {asked.reference} has a vocabulary of {sizes[1]} tokens, {asked.model} one of {sizes[0]}: "
            "their log-probs do not compare. A reference must share the model's tokenizer."
        )
    return subject, Subject(asked.reference, tokenizer, cache, trust, watch.stage)


def _texts(rows: TokenizedRows, subject: Subject, reference: Subject | None) -> Texts:
    ours = [float(total[0]) for total in subject.totals(rows)]
    theirs = None if reference is None else [float(total[0]) for total in reference.totals(rows)]
    return texts_of(rows.response_lengths.tolist(), bytes_of(rows, subject.tokenizer), ours, theirs)
