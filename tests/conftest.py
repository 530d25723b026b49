"""What all tests share: a cache of their own, one thread, and hypothesis without a clock: slow machines are no bug."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: tiny models are slower on two threads; children inherit it

import pytest
import torch
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared rows and reference log-probs go to a folder of this test session, also from child processes."""
    pytest.MonkeyPatch().setenv("TRUENORTH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model's folder, for runs that read it. Whoever changes it takes a copy."""
    from tests.tiny import tiny_directory  # imports transformers

    return str(tiny_directory(tmp_path_factory.mktemp("model") / "sft"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of twelve pairs, for runs that read it."""
    from tests.tiny import write_pairs  # imports transformers

    return str(write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a GPU is skipped where there is none, also when it is asked for."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))
