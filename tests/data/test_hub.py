"""The hub path, with ``datasets.load_dataset`` replaced: no network is used."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import HubUnavailable, one_failure_is_enough
from bfpo_bench.data import hub as hub_files
from bfpo_bench.tasks.catalog import all_sources, find_source
from tests.data.hub_rows import SCHEMAS, bbq, winogrande
from tests.data.named import load

FakeHub = Callable[[Any], list[tuple[Any, Any]]]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_hub_schema_gives_the_digest_of_the_files(
    data_dir: Path, fake_hub: FakeHub, name: str
) -> None:
    rows = SCHEMAS[name](data_dir)
    calls = fake_hub(rows)
    loaded = load(name)
    assert len(calls) == 1
    assert (loaded.origin, loaded.status, loaded.marks) == ("hub", "pinned", [])
    local = load(name, data_dir=data_dir)
    assert loaded.digest == local.digest
    # Not only the digested part: prompts and families are the same as well.
    unknown = {"category", "subset"}
    for ours, theirs in zip(
        sorted(local.rows, key=str_key), sorted(loaded.rows, key=str_key), strict=True
    ):
        for field in set(ours) - unknown:
            assert ours[field] == theirs[field]


def str_key(row: dict[str, Any]) -> list[str]:
    return [str(row[field]) for field in sorted(row) if field not in ("category", "subset")]


def test_the_order_in_which_a_hub_copy_lists_choices_does_not_change_the_digest(
    data_dir: Path, fake_hub: FakeHub
) -> None:
    generator = random.Random(0)

    def shuffled(scores: dict[str, int]) -> list[str]:
        return generator.sample(list(scores), len(scores))

    fake_hub(bbq(data_dir, listed=shuffled))
    loaded = load("bbq_lite")
    assert loaded.status == "pinned"
    assert loaded.rows[0]["category"] == ""
    families = {row["group"] for row in loaded.rows}
    assert families == {r["group"] for r in load("bbq_lite", data_dir=data_dir).rows}


def test_a_hub_copy_that_differs_is_refused(data_dir: Path, fake_hub: FakeHub) -> None:
    fake_hub(winogrande(data_dir)[1:])
    with pytest.raises(BadInput, match=r"from allenai/winogrande@main .* found 1266 rows"):
        load("winogrande")


def test_rows_without_the_expected_columns_are_refused(fake_hub: FakeHub) -> None:
    fake_hub([{"text": "x"}])
    with pytest.raises(BadInput, match="row 0: field 'sentence' is missing; found 'text'"):
        load("winogrande")


def test_class_labels_become_their_names(fake_hub: FakeHub) -> None:
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("int32"),
            "sent_more": datasets.Value("string"),
            "sent_less": datasets.Value("string"),
            "stereo_antistereo": datasets.ClassLabel(names=["stereo", "antistereo"]),
            "bias_type": datasets.ClassLabel(names=["age", "religion"]),
        }
    )
    rows = [
        {"id": i, "sent_more": f"m{i}", "sent_less": "l", "stereo_antistereo": 1, "bias_type": 1}
        for i in range(1677)
    ]
    calls = fake_hub(datasets.Dataset.from_list(rows, features=features))
    loaded = load("crows_pairs")
    assert loaded.rows[0] == {
        "sent_more": "m0",
        "sent_less": "l",
        "stereo_antistereo": "antistereo",
        "bias_type": "religion",
    }
    assert (loaded.status, loaded.variant) == ("unverified", "revised")
    assert calls[0][0] == ("jannalu/crows_pairs_multilingual", "english")


def test_toxicity_and_alert_schemas(data_dir: Path, fake_hub: FakeHub) -> None:
    lines = (data_dir / "toxigen/annotated_train_sample.jsonl").read_text(encoding="utf-8")
    fake_hub([json.loads(line) for line in lines.splitlines()])
    assert (
        load("toxigen").status,
        len(load("toxigen").rows),
    ) == (
        "unverified",
        940,
    )
    lines = (data_dir / "realtoxicityprompts/challenging.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    fake_hub([*rows, {**rows[0], "challenging": False}])
    loaded = load("realtoxicityprompts", allow_unpinned=True)
    assert len(loaded.rows) == 1196
    fake_hub([{"id": 3, "prompt": "### Instruction:\nx\n### Response:\n", "category": "c"}])
    loaded = load("alert", allow_unpinned=True)
    assert list(loaded.rows) == [{"prompt": "x", "category": "c", "id": "3"}]


def test_data_files_are_asked_for_and_never_a_script(fake_hub: FakeHub) -> None:
    asked = {}
    for name in all_sources():
        calls = fake_hub(RuntimeError("stop here"))
        with pytest.raises(HubUnavailable):
            load(name)
        asked[name] = calls[0]
        assert "trust_remote_code" not in calls[0][1]
    assert asked["ethics_virtue"] == (
        ("EleutherAI/hendrycks_ethics", None),
        {
            "data_files": {"test": "virtue/test/0000.parquet"},
            "split": "test",
            "revision": "refs/convert/parquet",
        },
    )
    revision = "2955709b93b0e08df511a752a3874b0a89b8910b"
    address = f"hf://datasets/tatsu-lab/alpaca_eval@{revision}/alpaca_eval_gpt4_baseline.json"
    assert asked["alpaca_eval"] == (
        ("json",),
        {"data_files": {"eval": address}, "split": "eval"},
    )


def test_hub_ids_are_those_of_the_stock_tasks() -> None:
    import lm_eval

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!function", lambda loader, suffix, node: None)
    folder = Path(lm_eval.__file__).parent / "tasks"
    big = "bigbench/multiple_choice"
    stock = {
        "crows_pairs": "crows_pairs/crows_pairs_english.yaml",
        "winogrande": "winogrande/default.yaml",
        "toxigen": "toxigen/toxigen.yaml",
        "bbq_lite": f"{big}/bbq_lite_json.yaml",
        "moral_permissibility": f"{big}/moral_permissibility.yaml",
        "simple_ethical_questions": f"{big}/simple_ethical_questions.yaml",
        "hhh_alignment": f"{big}/hhh_alignment.yaml",
    }
    for name, file in stock.items():
        task = yaml.load((folder / file).read_text(encoding="utf-8"), Loader)
        if "include" in task:
            template = (folder / file).parent / task["include"]
            task = {**yaml.load(template.read_text(encoding="utf-8"), Loader), **task}
        hub = find_source(name).default.hub
        assert hub is not None
        split = task.get("test_split") or task["validation_split"]
        assert (hub.repo, hub.config, hub.split) == (
            task["dataset_path"],
            task["dataset_name"],
            split,
        )


def test_an_unreachable_hub_is_one_sentence(fake_hub: FakeHub) -> None:
    fake_hub(ConnectionError("Couldn't reach 'allenai/winogrande' on the Hub\nand more"))
    with pytest.raises(HubUnavailable) as error:
        load("winogrande")
    sentence = str(error.value)
    assert sentence == (
        "source 'winogrande' could not be read from the hub, allenai/winogrande@main "
        "(winogrande_xl): ConnectionError: Couldn't reach 'allenai/winogrande' on the Hub; put its "
        "files into a folder and name that with --data-dir (expected: "
        "winogrande/winogrande_xl_validation.jsonl or winogrande/dev.jsonl)."
    )
    assert "\n" not in sentence
    assert error.value.exit_code == 2
    fake_hub(RuntimeError("Dataset 'walledai/AdvBench' is a gated dataset on the Hub."))
    with pytest.raises(HubUnavailable, match="hf auth login"):
        load("advbench")


def test_without_network_only_the_cache_is_asked(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    seen = []

    def load_dataset(*args: Any, **kwargs: Any) -> None:
        seen.append(datasets.config.HF_HUB_OFFLINE)
        raise failure("offline")

    failure: type[Exception] = ConnectionError
    fake_hub([])
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for resolves in (False, True):
        monkeypatch.setattr(hub_files, "_resolves", lambda host, answer=resolves: answer)
        with pytest.raises(HubUnavailable):
            load("winogrande")
        assert datasets.config.HF_HUB_OFFLINE is False
    assert seen == [True, False]
    # Of several sources the first that is not answered stands for all, a refused one does not.
    for kind, expected in ((ConnectionError, [False, True, True]), (RuntimeError, [False] * 3)):
        seen.clear()
        failure = kind
        with one_failure_is_enough():
            for name in ("winogrande", "alert", "toxigen"):
                with pytest.raises(HubUnavailable):
                    load(name)
        assert seen == expected
    assert datasets.config.HF_HUB_OFFLINE is False
