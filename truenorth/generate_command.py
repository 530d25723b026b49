"""`truenorth generate` once its line is read: prompts answered by a model in memory or by a server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .completions import Completions, ServerSettings
from .errors import SamplerError, SettingsError
from .evaluate.progress import Watch, watching
from .flags import GENERATE, Given, settings_of
from .models.origin import fingerprint, must_exist
from .online.answers_file import AnswersFile, Row, row_of
from .online.prompts import as_turn, check_token_ids, read_prompts
from .online.sampling import Prompt, Sampler, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .online.server import Server


def generate_command(given: Given) -> None:
    """Print the answers to each prompt, or write them as JSON lines as they come."""
    asked = settings_of(given, GENERATE)
    sampling = Sampling(**_of("sampling", asked))
    server = _server(asked)
    prompts = _prompts(asked)
    if "run.model" in asked:
        must_exist(asked["run.model"])
    out = _answers_file(asked, prompts, sampling)
    with watching(Console(stderr=True)) as watch:
        rows = out.rows if out else {}
        if rows:
            watch.said(f"{asked['out']} has answers to {len(rows)} of {len(prompts)} prompts already; they are kept.")
        if len(rows) < len(prompts):
            sampler, put = _ready(asked, server, prompts, watch)
            watch.stage(f"answering {len(prompts) - len(rows)} prompts, {sampling.k} times each")
            try:
                for place, responses in sampler.answers(put, sampling, done=list(rows)):
                    if out:
                        out.append(place, responses)
                    else:
                        rows[place] = row_of(place, prompts[place], responses, {})
                    watch.stage(f"answering: {len(rows)} of {len(prompts)} prompts")
            except SamplerError:
                if not out:  # what there is would be lost
                    _show(rows)
                raise
    if out:
        out.finish()
        print(asked["out"])
    else:
        _show(rows)


def _of(owner: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {path.removeprefix(f"{owner}."): v for path, v in asked.items() if path.startswith(f"{owner}.")}


def _server(asked: Mapping[str, Any]) -> "Server | None":
    """The server of --server. Raises SettingsError where there is neither it nor a model, or only its settings."""
    where, own = _of("server", asked), _of("completions", asked)
    if "url" not in where:
        if where or own:
            raise SettingsError("--served-model, --concurrency, --timeout and --key-variable belong to --server URL.")
        if "run.model" not in asked:
            raise SettingsError(
                'generate needs --model, for instance --model runs/dpo/final --prompt "Hello", or --server URL.'
            )
        return None
    from .online.server import Server

    return Server(Completions(server=ServerSettings(**where), **own))


def _prompts(asked: Mapping[str, Any]) -> list[Prompt]:
    """The prompts of --prompt and of the file of --prompts."""
    prompts: list[Prompt] = list(asked.get("prompt", []))
    if "prompts" in asked:
        prompts += read_prompts(Path(asked["prompts"]), token_ids=True)
    if not prompts:
        raise SettingsError('generate needs --prompt TEXT or --prompts FILE, for instance --prompt "Write a letter."')
    return prompts


def _answers_file(asked: Mapping[str, Any], prompts: Sequence[Prompt], sampling: Sampling) -> AnswersFile | None:
    if "out" not in asked:
        return None
    made: dict[str, Any] = {"k": sampling.k, "seed": sampling.seed, "plain": bool(asked.get("plain"))}
    if asked.get("continuous"):
        made["continuous"] = True
    if "server.url" in asked:
        made |= {"server": asked["server.url"], "served_model": asked.get("completions.model", "")}
    if "run.model" in asked:
        model = asked["run.model"]
        made |= {"model": model} | ({"weights": fingerprint(model)} if Path(model).is_dir() else {})
    return AnswersFile.open(
        Path(asked["out"]), prompts, made | sampling.model_dump(mode="json", exclude_defaults=True)
    )


def _ready(
    asked: Mapping[str, Any], server: "Server | None", prompts: Sequence[Prompt], watch: Watch
) -> tuple[Sampler, list[Prompt]]:
    """The sampler, and the prompts as it is to get them: text as a user's message, where there is a chat."""
    tokenizer, trust = None, bool(asked.get("run.trust_remote_code"))
    if "run.model" in asked:
        tokenizer = _tokenizer(asked["run.model"], trust=trust, watch=watch)
        check_token_ids(prompts, len(tokenizer))
    chat = not asked.get("plain") and (tokenizer is None or bool(tokenizer.chat_template))
    if chat and any(isinstance(prompt, str) for prompt in prompts):
        watch.said("Text goes through the chat template as a user's message; --plain leaves it as it is.")
    put = [as_turn(prompt) if chat else prompt for prompt in prompts]
    if server is not None:
        server.tokenizer = tokenizer
        return server, put
    from .models.load import load_model
    from .online.sampler import Local

    assert tokenizer is not None, "there is a model where there is no server"
    watch.stage("loading the model")
    model = load_model(asked["run.model"], trust_remote_code=trust)
    if asked.get("continuous"):
        from .online.continuous import Continuous, unfit

        if not (reason := unfit(model)):
            return Continuous(model, tokenizer), put
        watch.said(f"transformers' continuous batching cannot answer for this model ({reason}); plain decoding does.")
    return Local(model, tokenizer), put


def _tokenizer(model: str, *, trust: bool, watch: Watch) -> "PreTrainedTokenizerBase":
    watch.stage("loading the tokenizer")
    from .commands import quiet_libraries

    quiet_libraries()
    from .models.load import load_tokenizer

    return load_tokenizer(model, trust_remote_code=trust)


def _show(rows: Mapping[int, Row]) -> None:
    """The answers by the places of their prompts; of a conversation its last message."""
    console = Console(highlight=False, soft_wrap=True)
    for _, row in sorted(rows.items()):
        last = row["prompt"][-1]
        prompt = last.get("content", "") if isinstance(last, Mapping) else row["prompt"]  # text, or token ids
        console.print(prompt, style="dim", markup=False)
        for text, ended in zip(row["responses"], row["ended"], strict=True):
            console.print(text + ("" if ended else " [...]"), style="bold", markup=False)
        console.print()
