"""Models for tests, as session fixtures; the root conftest imports them.

The trained ones lie under pytest's cache folder, so that a second test run finds them ready. They
are made anew when the code behind them changes (see ``bfpo_bench.toy_world.made_once``). The real
one lies in the user's cache, where the demo looks for it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
"""Part of a configuration of transformers: a model for which a test needs nothing but its parts."""


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of under 300,000 parameters with tokenizer and chat template."""
    from bfpo_bench.toy_world.models import make_model

    return make_model("random", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def toy_target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's target model, fully trained (half a minute the first time)."""
    return _made(request, tmp_path_factory, "target")


@pytest.fixture(scope="session")
def toy_judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's judge model, fully trained, with its card ``toy.yaml``."""
    return _made(request, tmp_path_factory, "judge")


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct; what needs it is marked ``real`` and skips where it cannot be had."""
    from bfpo_bench.common.errors import BenchError
    from bfpo_bench.toy_world.smollm2 import cached_folder, make_smollm2

    folder = cached_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = tmp_path_factory.mktemp("real") / folder.name
    try:
        with _alone(folder.with_name(f"{folder.name}.lock")):
            return make_smollm2(folder)
    except BenchError as error:
        pytest.skip(str(error))


def _made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
) -> Path:
    from bfpo_bench.toy_world.models import make_model

    cache = getattr(request.config, "cache", None)  # None under -p no:cacheprovider
    home = cache.mkdir("toy-models") if cache else tmp_path_factory.mktemp("toy-models")
    with _alone(home / f"{name}.lock"):
        return make_model(name, home / name)


@contextmanager
def weights_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The tensors of a checkpoint's only file by name; what is done to them is saved there."""
    from safetensors.torch import load_file, save_file

    [file] = folder.glob("*.safetensors")
    tensors = load_file(file)
    yield tensors
    save_file(tensors, file, metadata={"format": "pt"})


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one of pytest-xdist's workers train while the others wait."""
    try:
        import fcntl
    except ImportError:  # Windows: at worst the model is trained once per worker
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
