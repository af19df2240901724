"""What is exported for lm-eval, against the files that lm-eval itself writes for the same tasks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.export import export_run
from bfpo_bench.suites import TASKS_FOLDER, load_suite

pytestmark = pytest.mark.slow

SCORED = {t.task: t.metric for t in load_suite("mini").tasks if t.group == "disc"}
JUDGED = ["bfpo_alert", "bfpo_alert_adversarial"]

Files = dict[str, Any]


@pytest.fixture(scope="module")
def exported(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Our export of a run of all scored tasks and two judged ones, these without sampling."""
    folder = tmp_path_factory.mktemp("exported")
    lines = ["name: greedy", "version: 1", "data: mini", "judge: keyword", "tasks:"]
    lines += [
        f"  - {{task: {task}, column: {task}, group: disc, metric: {metric}, direction: higher, "
        "chat_template: false}"
        for task, metric in SCORED.items()
    ]
    lines += [
        f"  - {{task: {task}, column: {task}, group: gen, metric: harmless, direction: higher, "
        "chat_template: true, generation: {temperature: 0, max_new_tokens: 12}}"
        for task in JUDGED
    ]
    suite = folder / "greedy.yaml"
    suite.write_text("\n".join(lines), encoding="utf-8")
    run = folder / "run"
    bfpo_bench.evaluate(
        str(tiny_llama), suite=str(suite), backend="hf", dtype="float32", output=run
    )
    done = export_run(run, "lm-eval", folder / "ours")
    assert done.notes == []
    return read(done.path)


@pytest.fixture(scope="module")
def lm_eval_scored(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return lm_eval_files(tiny_llama, list(SCORED), tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def lm_eval_judged(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A run of its own: lm-eval applies a chat template to all tasks of a run or to none."""
    return lm_eval_files(
        tiny_llama,
        JUDGED,
        tmp_path_factory.mktemp("judged"),
        apply_chat_template=True,
        gen_kwargs={"do_sample": False, "temperature": 0.0, "max_gen_toks": 12, "until": []},
    )


def lm_eval_files(model: Path, tasks: list[str], folder: Path, **options: Any) -> Files:
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    tracker = EvaluationTracker(output_path=str(folder))
    manager = TaskManager(
        include_path=str(TASKS_FOLDER), include_defaults=False, metadata={"mini": True}
    )
    with pytest.MonkeyPatch.context() as patch:
        # By a relative path lm-eval calls the model what we call it.
        patch.chdir(model.parent)
        patch.setenv("HF_HUB_OFFLINE", "1")
        results = simple_evaluate(
            model="hf",
            model_args={"pretrained": model.name, "dtype": "float32"},
            tasks=list(tasks),
            task_manager=manager,
            device="cpu",
            batch_size=8,
            evaluation_tracker=tracker,
            log_samples=True,
            **options,
        )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results, samples=samples)
        for task, some in samples.items():
            tracker.save_results_samples(task, some)
    (made,) = folder.iterdir()
    return read(made)


def read(folder: Path) -> Files:
    """The files of a model's folder by name, the date taken out of it."""
    found: Files = {"folder": folder.name}
    for path in folder.iterdir():
        name, dates = re.subn(r"_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}\.json", ".json", path.name)
        assert dates == 1, path.name
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")[:-1] if name.endswith("l") else [text]
        parsed = [json.loads(line) for line in lines]
        found[name] = parsed if name.endswith("l") else parsed[0]
    return found


def without(content: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def test_the_same_files(
    exported: Files, lm_eval_scored: Files, lm_eval_judged: Files, tiny_llama: Path
) -> None:
    assert exported["folder"] == lm_eval_scored["folder"] == tiny_llama.name
    assert set(exported) == set(lm_eval_scored) | set(lm_eval_judged)
    assert len(exported) == 2 + len(SCORED) + len(JUDGED)


@pytest.mark.parametrize("task", SCORED)
def test_scored_samples(exported: Files, lm_eval_scored: Files, task: str) -> None:
    ours, theirs = exported[f"samples_{task}.jsonl"], lm_eval_scored[f"samples_{task}.jsonl"]
    assert len(ours) == len(theirs) >= 24
    for one, other in zip(ours, theirs, strict=True):
        assert list(one) == list(other)
        numbers = {"resps", "filtered_resps", *other["metrics"]}
        assert without(one, numbers) == without(other, numbers)
        assert [answer for (answer,) in one["resps"]] == one["filtered_resps"]
        for (mine, mine_greedy), (their, their_greedy) in zip(
            one["filtered_resps"], other["filtered_resps"], strict=True
        ):
            assert float(mine) == pytest.approx(float(their), rel=1e-5)
            assert mine_greedy == their_greedy
        for metric in other["metrics"]:
            assert one[metric] == pytest.approx(other[metric], rel=1e-3)


@pytest.mark.parametrize("task", JUDGED)
def test_generated_samples(exported: Files, lm_eval_judged: Files, task: str) -> None:
    """The same but for the verdicts, which lm-eval has no place for."""
    ours, theirs = exported[f"samples_{task}.jsonl"], lm_eval_judged[f"samples_{task}.jsonl"]
    assert len(ours) == len(theirs) >= 24
    for one, other in zip(ours, theirs, strict=True):
        assert set(one) == set(other) | {"harmless", "verdicts"}
        assert one["metrics"] == [*other["metrics"], "harmless"]
        assert without(one, {"harmless", "verdicts", "metrics"}) == without(other, {"metrics"})
        (verdict,) = one["verdicts"]
        assert verdict["judge"] == "keyword"
        assert one["harmless"] == float(verdict["harmful"] is False)


def test_results(exported: Files, lm_eval_scored: Files, lm_eval_judged: Files) -> None:
    ours = exported["results.json"]
    for theirs in (lm_eval_scored["results.json"], lm_eval_judged["results.json"]):
        assert set(ours) == set(theirs) | {"bfpo_bench"}
        assert set(ours["config"]) == set(theirs["config"])
        assert set(ours["config"]["model_args"]) == set(theirs["config"]["model_args"])
        for name in ("model", "model_dtype", "model_revision", "model_sha"):
            assert ours["config"][name] == theirs["config"][name]
        for name in ("transformers_version", "lm_eval_version", "system_instruction_sha"):
            assert ours[name] == theirs[name]
        for name in ("model_name", "model_name_sanitized", "model_source", "fewshot_as_multiturn"):
            assert ours[name] == theirs[name]
        for name in ("versions", "n-shot", "n-samples", "task_hashes"):
            assert {task: ours[name][task] for task in theirs[name]} == theirs[name]
    theirs = lm_eval_judged["results.json"]
    assert theirs["chat_template_sha"].startswith(ours["chat_template_sha"])
    assert ours["bfpo_bench"]["judge"]["judge"] == "keyword"
    assert any("demonstration" in mark for mark in ours["bfpo_bench"]["marks"])


def test_scores(exported: Files, lm_eval_scored: Files, lm_eval_judged: Files) -> None:
    ours = exported["results.json"]
    scored = lm_eval_scored["results.json"]
    for task, metrics in scored["results"].items():
        mine = ours["results"][task]
        assert list(mine) == list(metrics)
        for name, value in metrics.items():
            # Names stand among the numbers.
            close = value if isinstance(value, str) else pytest.approx(value, rel=1e-3)
            assert mine[name] == close, name
        assert ours["higher_is_better"][task] == scored["higher_is_better"][task]
    judged = lm_eval_judged["results.json"]
    for task, metrics in judged["results"].items():
        mine = dict(ours["results"][task])
        verdicts = [s["harmless"] for s in exported[f"samples_{task}.jsonl"]]
        assert mine.pop("harmless,none") == pytest.approx(sum(verdicts) / len(verdicts))
        assert mine.pop("harmless_stderr,none") >= 0
        assert mine == metrics
        directions = {**judged["higher_is_better"][task], "harmless": True}
        assert ours["higher_is_better"][task] == directions


def test_documents_of_real_data_hash_as_in_lm_eval(data_dir: Path) -> None:
    """The order of fields and the kinds of numbers decide on a document's hash."""
    from bfpo_bench.data import load_source
    from bfpo_bench.export.lm_eval_files import document
    from bfpo_bench.tasks.catalog import all_sources
    from bfpo_bench.tasks.rows import dataset

    compared = 0
    for name, source in all_sources().items():
        try:
            loaded = load_source(source, data_dir=data_dir, allow_unpinned=True)
        except BadInput:
            continue
        theirs = dataset(name, data_dir=data_dir, allow_unpinned=True)["test"]
        ids = source.ids(loaded.rows)
        chosen = range(0, len(ids), 1 + len(ids) // 300)
        for position in chosen:
            stored = json.loads(json.dumps(loaded.rows[position], sort_keys=True))
            mine = document(name, stored, ids[position])
            assert json.dumps(mine) == json.dumps(theirs[position])
        compared += 1
    assert compared >= 10


def test_task_configurations(exported: Files, lm_eval_scored: Files, lm_eval_judged: Files) -> None:
    def plain(config: dict[str, Any]) -> Any:
        # lm-eval writes where functions lie in memory.
        return json.loads(re.sub(r" at 0x[0-9a-f]+", "", json.dumps(config)))

    ours = exported["results.json"]["configs"]
    for files in (lm_eval_scored, lm_eval_judged):
        for task, config in files["results.json"]["configs"].items():
            assert plain(ours[task]) == plain(config)
