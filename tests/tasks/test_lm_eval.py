"""The tasks in lm-eval by itself: its command line, and its Hugging Face model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bfpo_bench.suites import TASKS_FOLDER
from tests.lm_eval_program import without_its_own_tasks
from tests.toy_models import SMALL

from .conftest import DISC, GEN, load_task

pytestmark = pytest.mark.slow


class Run(NamedTuple):
    results: dict[str, Any]
    out: Path  # folder of results and samples
    messages: str


def lm_eval_run(folder: Path, program: list[str], *arguments: str, **environment: str) -> Run:
    """Runs ``lm_eval run`` with its dummy model from ``folder``."""
    command = [*program, "run", "--model", "dummy", "--include_path", str(TASKS_FOLDER)]
    done = subprocess.run(
        [*command, "--output_path", "out", "--log_samples", *arguments],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = folder.glob("out/**/results_*.json")
    return Run(json.loads(path.read_text(encoding="utf-8")), path.parent, done.stderr)


def test_command_line_on_mini_items(tmp_path: Path) -> None:
    results, out, messages = lm_eval_run(
        *(tmp_path, [sys.executable, "-m", "lm_eval"]),
        *("--tasks", "bfpo_disc,bfpo_gen", "--metadata", '{"mini": true}'),
    )
    scores = results["results"]
    assert set(DISC + GEN) <= set(scores)
    assert set(DISC + GEN) <= set(results["versions"])
    assert "demonstration" in messages
    accuracies = [scores[name]["acc,none"] for name in DISC if name != "bfpo_crows_pairs"]
    group = results["groups"]["bfpo_disc"]
    assert group["acc,none"] == pytest.approx(sum(accuracies) / 11)
    assert group["pct_stereotype,none"] == scores["bfpo_crows_pairs"]["pct_stereotype,none"]

    (log,) = out.glob("samples_bfpo_advbench_*.jsonl")
    samples = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(samples) >= 24
    for sample in samples:
        assert sample["arguments"]["gen_args_0"]["arg_0"] == sample["doc"]["goal"] + ". "
        assert sample["filtered_resps"] == ["lol"]
        assert sample["doc"]["item_id"]


def test_command_line_on_real_data(data_dir: Path, tmp_path: Path) -> None:
    results, _, messages = lm_eval_run(
        *(tmp_path, without_its_own_tasks("lm_eval")),
        *("--tasks", "bfpo_winogrande,bfpo_realtoxicityprompts", "--limit", "3"),
        *("--metadata", "allow_unpinned=True"),  # our RealToxicityPrompts lacks three
        BFPO_DATA_DIR=str(data_dir),
    )
    assert results["n-samples"]["bfpo_winogrande"] == {"original": 1267, "effective": 3}
    assert "realtoxicityprompts is not the pinned data (1196 rows" in messages


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Llama with random weights over single bytes; byte 0 ends a text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"</s>": 0, **{c: i + 1 for i, c in enumerate(alphabet)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", bos_token="</s>"
    )
    fast.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            **{**SMALL, "num_hidden_layers": 1},
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def test_hf_model_generates_without_stop_sequences(tiny_llama: Path) -> None:
    """`until: []` means: up to the end-of-text token or 256 tokens; one token is one byte here."""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4)
    texts: dict[str, list[str]] = {}
    for name in ("bfpo_alert", "bfpo_realtoxicityprompts"):
        task = load_task(name, mini=True)
        task.build_all_requests(
            limit=8, apply_chat_template=True, chat_template=lm.apply_chat_template
        )
        first = task.instances[0].args[0]
        assert first == f"<user>{task.eval_docs[0]['prompt']}<assistant>"
        texts[name] = lm.generate_until(task.instances, disable_tqdm=True)
    # Random weights: the end comes with one in 257, so about a third fills all 256 tokens.
    lengths = [len(lm.tok_encode(text, add_special_tokens=False)) for text in texts["bfpo_alert"]]
    assert max(lengths) > 100
    assert not any("\n\n" in text for text in texts["bfpo_realtoxicityprompts"])


def test_hf_model_scores_all_discriminative_tasks(tiny_llama: Path) -> None:
    """Every task's score, recomputed from the log-likelihoods of its logged samples."""
    import lm_eval
    import numpy as np
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=16)
    manager = lm_eval.tasks.TaskManager(
        include_path=TASKS_FOLDER, include_defaults=False, metadata={"mini": True}
    )
    results = lm_eval.simple_evaluate(
        lm, tasks=["bfpo_disc"], task_manager=manager, limit=6, bootstrap_iters=0
    )
    for name in DISC:
        samples = results["samples"][name]
        assert len(samples) == 6
        lls = np.array([[ll for ll, _ in sample["filtered_resps"]] for sample in samples])
        score = results["results"][name]
        if name == "bfpo_crows_pairs":
            assert score["pct_stereotype,none"] == np.mean(lls[:, 0] > lls[:, 1])
        elif name == "bfpo_winogrande":
            gold = [int(sample["doc"]["answer"]) - 1 for sample in samples]
            assert score["acc,none"] == np.mean(lls.argmax(axis=1) == gold)
        else:
            gold = [sample["target"] for sample in samples]
            assert score["acc,none"] == np.mean(lls.argmax(axis=1) == gold)
