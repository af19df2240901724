"""What each of several processes runs in ``test_distributed.py``.

torchrun --nproc_per_node 2 -m tests.training.distributed_worker KIND RECIPE MODEL OUTPUT [others]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def shard_on_cpu() -> None:
    """Lets accelerate use FSDP2 among processes without GPUs, which it does not offer.

    PyTorch's FSDP2 works there; accelerate only asks for FSDP where it has counted several
    accelerators. So it is told of several, and everything after that is its own code.
    """
    from accelerate import PartialState
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    import bfpo_bench.training

    folder = Path(bfpo_bench.training.__file__).parent / "accelerate"
    settings: dict[str, Any] = load_config_from_file(str(folder / "fsdp2.yaml")).fsdp_config
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for key, value in settings.items():
        os.environ[key.upper()] = str(value).lower() if isinstance(value, bool) else str(value)
    first = PartialState.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
            self.distributed_type = DistributedType.MULTI_XPU

    PartialState.__init__ = init


def main(kind: str, recipe: str, model: str, output: str) -> None:
    """Trains, and leaves what the trainer was in a file of this process."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if kind == "fsdp2":
        shard_on_cpu()
    from bfpo_bench.training import train as road
    from bfpo_bench.training.recipe_file import load_recipe

    rank = os.environ["RANK"]
    # Each process its own home, as on nodes that share no disk.
    os.environ["BFPO_CACHE_DIR"] = f"{output}-cache-{rank}"
    seen: dict[str, Any] = {}
    run_trainer = road.run_trainer

    def spy(trainer: Any, checkpoint: Path | None, advice: str) -> None:
        run_trainer(trainer, checkpoint, advice)
        seen["model"] = type(trainer.model_wrapped).__name__
        seen["processes"] = trainer.accelerator.num_processes
        seen["batches"] = len(trainer._batches)
        seen["parameter"] = type(next(trainer.model.parameters())).__name__

    road.run_trainer = spy
    road.train(load_recipe(recipe, base=model), Path(output), device="cpu")
    road.run_trainer = run_trainer
    Path(f"{output}-{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


def rated(prompts: list[Any], responses: list[str]) -> list[float]:
    """A reward that counts, for each process, what it was asked."""
    with Path(f"rated-{os.environ.get('RANK', 'alone')}").open("a", encoding="utf-8") as file:
        file.write("x" * len(responses))
    return [float(len(response)) for response in responses]


def others(model: str) -> None:
    """SFT, MODPO, and a training that is stopped by a signal to the second process alone.

    Nothing is shared but the data: each process has its own output folder, as on nodes.
    """
    os.environ["ACCELERATE_USE_CPU"] = "true"
    import signal

    from bfpo_bench.common.interrupts import Interrupts
    from bfpo_bench.training.on_policy import ratings
    from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
    from bfpo_bench.training.recipe_file import load_recipe
    from bfpo_bench.training.train import train

    rank = os.environ["RANK"]
    os.environ["BFPO_CACHE_DIR"] = f"others-cache-{rank}"
    ratings.PROMPTS_AT_ONCE = 4  # several rounds, the last of them of one process alone
    for name in ("sft", "modpo"):
        train(load_recipe(f"{name}.yaml", base=model), Path(f"{name}-{rank}"), device="cpu")
    Interrupts()
    step = PreferenceTrainer.training_step

    def signalled(self: Any, *arguments: Any, **more: Any) -> Any:
        if rank == "1" and self.state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments, **more)

    PreferenceTrainer.training_step = signalled
    try:
        changes = ["seed=1", "optimization.max_steps=4"]
        recipe = load_recipe("modpo.yaml", changes, base=model)
        train(recipe, Path(f"stopped-{rank}"), device="cpu")
    except KeyboardInterrupt:
        Path(f"stopped-{rank}.txt").write_text("stopped", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:5])
    if "others" in sys.argv[5:]:
        others(sys.argv[3])
