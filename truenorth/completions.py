"""A completion server that draws answers in the place of the model in memory: settings, without a request."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .errors import SettingsError
from .settings import Settings, setting

HandOver = Literal["none", "model_name", "vllm_lora", "sglang_weights", "command"]


def _with_its_scheme(url: str) -> str:
    if not re.match(r"https?://[^/]", url):
        raise SettingsError(
            f"a server's address begins with http:// or https://, got {url!r}. For instance http://localhost:8000/v1"
        )
    return url


Address = Annotated[str, AfterValidator(_with_its_scheme)]


class ServerSettings(Settings):
    """Where a server is, and how patient we are with it."""

    url: Address = Field(description="of the server's API, with its /v1")
    timeout_seconds: float = setting(600.0, "that it may be silent for", source="ours", gt=0)
    tries: int = setting(5, "of a request, before it is given up", source="ours", ge=1)
    wait_seconds: float = setting(1.0, "before the second try; doubled at each", source="ours", ge=0)
    key_variable: str = setting("", "environment variable that holds the server's key", source="ours")


class Completions(Settings):
    """A completion server as a sampler."""

    server: ServerSettings = Field(description="where it is (--server URL)")
    model: str = setting("", "name that the server knows; empty: the first that it lists", source="ours")
    concurrency: int = setting(16, "requests under way at once", source="ours", ge=1)
    hand_over: HandOver = setting("none", "how the server takes the weights of a round", source="ours")
    command: str = setting("", "run with the round's folder behind it, for hand_over: command", source="ours")

    def model_post_init(self, _: object) -> None:
        if (self.hand_over == "command") != bool(self.command):
            raise SettingsError(f"hand_over: command and `command` belong together, got {self.command!r}.")
