"""The trainers that are compared: each makes one update at a time, when it is told to."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bfpo_bench.training.data.tokenize import TokenPair

TRL = "TRL dpo"
BETA = 0.1


@dataclass(frozen=True)
class Setup:
    """What one contender trains.

    Attributes:
        kind: :data:`TRL`, or ``"ours X"`` with a built-in loss.
        model: folder of a checkpoint.
        pairs: in the order of training; together they are whole updates.
        per_update: pairs behind an update.
        at_once: pairs that go through the model together.
        layers: name patterns of what is trained; empty: everything.
        bf16: products in bfloat16, else everything in float32.
        checkpointing: gradient checkpointing.
    """

    kind: str
    model: Path
    pairs: Sequence[TokenPair]
    per_update: int
    at_once: int
    layers: tuple[str, ...]
    bf16: bool
    checkpointing: bool
    device: str


@dataclass(frozen=True)
class Ready:
    """A contender before its first update.

    Attributes:
        seconds, cpu_seconds: that the reference pass took.
        parameters: that are trained.
        share: of the weights in matrices of products that are trained.
    """

    seconds: float
    cpu_seconds: float
    parameters: int
    share: float


@dataclass(frozen=True)
class Update:
    """One update: seconds, processor seconds of the process, and the logged loss."""

    seconds: float
    cpu_seconds: float
    loss: float


def serve(pipe: Connection, setup: Setup) -> None:
    """The reference pass, then an update for each message, and the peak memory in bytes last."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        trainer, ready = _prepare(setup, Path(folder))
        trainer.add_callback(_turns(pipe, ready))
        trainer.train()
    pipe.recv()
    pipe.send(_peak(setup.device))


def _prepare(setup: Setup, folder: Path) -> tuple[Any, Ready]:
    import torch

    from bfpo_bench.engines.hf.load import load_causal_model
    from bfpo_bench.training.trainable import select_layers

    dtype = torch.bfloat16 if setup.bf16 else torch.float32
    model = load_causal_model(setup.model, dtype, torch.device("cpu"))
    select_layers(model, setup.layers)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    share = sum(p.numel() for p in matrices if p.requires_grad) / sum(p.numel() for p in matrices)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    settings = {
        "output_dir": str(folder),
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "gradient_accumulation_steps": setup.per_update // setup.at_once,
        "bf16": setup.bf16,
        "gradient_checkpointing": setup.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": setup.device == "cpu",
        "disable_tqdm": True,
        "optim": "adamw_torch" if setup.device == "cpu" else "adamw_torch_fused",
    }
    build = _trl if setup.kind == TRL else _ours
    trainer, seconds, cpu_seconds = build(setup, model, settings, folder)
    return trainer, Ready(seconds, cpu_seconds, parameters, share)


def _ours(
    setup: Setup, model: Any, settings: dict[str, Any], folder: Path
) -> tuple[Any, float, float]:
    from accelerate import PartialState
    from transformers import TrainingArguments

    from bfpo_bench.common.progress import Progress
    from bfpo_bench.training.pairwise import losses
    from bfpo_bench.training.pairwise.reference import reference_logprobs
    from bfpo_bench.training.pairwise.trainer import PreferenceTrainer

    arguments = TrainingArguments(**settings)
    name = setup.kind.removeprefix("ours ")
    scale = {"beta": BETA} if name in ("dpo", "modpo") else {"tau": BETA}
    # Margins are rated before training; for the time of an update any will do.
    margin = 0.0 if name == "modpo" else None
    pairs = [replace(pair, margin=margin) for pair in setup.pairs]
    begin, cpu_begin = time.perf_counter(), time.process_time()
    reference = reference_logprobs(
        setup.pairs,
        model,
        "bf16" if setup.bf16 else "fp32",
        folder / "reference.sqlite",
        PartialState(),
        Progress(show=False),
    )
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    count, size = len(setup.pairs), setup.at_once
    batches = [range(start, start + size) for start in range(0, count, size)]
    loss = partial(getattr(losses, name), **scale)
    trainer = PreferenceTrainer(
        model, arguments, pairs, reference, [list(b) for b in batches], loss, beta=BETA
    )
    return trainer, seconds, cpu_seconds


def _trl(
    setup: Setup, model: Any, settings: dict[str, Any], folder: Path
) -> tuple[Any, float, float]:
    """TRL's DPOTrainer on the same tokens in the same order."""
    import datasets
    from torch.utils.data import SequentialSampler
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    class SameTokens(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset or self.train_dataset)

        def _precompute_ref_logps(self, *arguments: Any, **more: Any) -> Any:
            begin, cpu_begin = time.perf_counter(), time.process_time()
            found = super()._precompute_ref_logps(*arguments, **more)
            spent.extend([time.perf_counter() - begin, time.process_time() - cpu_begin])
            return found

    spent: list[float] = []
    datasets.disable_progress_bars()
    rows = [
        {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected}
        for pair in setup.pairs
    ]
    # In a file of the folder, so that no earlier run's reference is taken for this one's.
    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "pairs"))
    config = DPOConfig(
        **settings,
        per_device_train_batch_size=setup.at_once,
        num_train_epochs=1,
        beta=BETA,
        max_length=None,
        precompute_ref_log_probs=True,
    )
    trainer = SameTokens(
        model=model,
        args=config,
        train_dataset=datasets.load_from_disk(str(folder / "pairs")),
        processing_class=AutoTokenizer.from_pretrained(setup.model),
    )
    return trainer, spent[0], spent[1]


def _turns(pipe: Connection, ready: Ready) -> Any:
    """Waits for its turn before each update, and says afterwards what it took."""
    import torch
    from transformers import TrainerCallback

    def clocks() -> tuple[float, float]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    class Turns(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            pipe.send(ready)
            self._wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            if "loss" not in logs:
                return
            seconds, cpu_seconds = (b - a for a, b in zip(self._begin, clocks(), strict=True))
            pipe.send(Update(seconds, cpu_seconds, float(logs["loss"])))
            if state.global_step < state.max_steps:
                self._wait()

        def _wait(self) -> None:
            pipe.recv()
            self._begin = clocks()

    return Turns()


def _peak(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
