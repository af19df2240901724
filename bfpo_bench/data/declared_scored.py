"""The declared sources of the twelve tasks that score choices; see :mod:`.declared`."""

from __future__ import annotations

from bfpo_bench.data import bigbench, readers
from bfpo_bench.data.source import Hub, Source, Variant

_CHOICES = {"inputs": str, "choices": list, "scores": list}
_BIG_BENCH = "https://github.com/google/BIG-bench/tree/main/bigbench/benchmark_tasks"
_BBQ_CATEGORIES = (
    "age",
    "disability_status",
    "gender_identity",
    "nationality",
    "physical_appearance",
    "race_ethnicity",
    "religion",
    "ses",
    "sexual_orientation",
)


def _ethics(
    name: str,
    folder: str,
    file: str,
    rows: int,
    digest: str,
    fields: dict[str, type],
    convert: readers.Convert,
    hub_convert: readers.Convert | None = None,
    header: bool = True,
) -> Source:
    """One of the five ETHICS test sets.

    lm-evaluation-harness names EleutherAI/hendrycks_ethics, whose main branch holds a loading
    script and no data (`datasets` >= 4 refuses it). The hub's own conversion of what that script
    yields, on the branch refs/convert/parquet, is the same data; it was there, in these paths, when
    last seen in a public index. The script splits virtue's field at " [SEP] " and reads
    utilitarianism without header, as the readers here do.
    """
    columns = tuple(fields) if name != "ethics_virtue" else ("label", "scenario")
    return Source(
        name=name,
        variants=(
            Variant(
                name="default",
                rows=rows,
                digest=digest,
                layouts=((f"ethics/{folder}/{file}_test.csv",),),
                read=readers.from_csv(convert, *columns, header=header),
                hub=Hub(
                    repo="EleutherAI/hendrycks_ethics",
                    split="test",
                    revision="refs/convert/parquet",
                    file=f"{folder}/test/0000.parquet",
                    read=readers.from_hub(hub_convert or convert),
                ),
            ),
        ),
        fields=fields,
        licence="MIT (texts of commonsense: Reddit's terms)",
        homepage="https://github.com/hendrycks/ethics",
    )


def _big_bench(name: str, rows: int) -> Source:
    """A BIG-bench task of which no copy was at hand: no digest is known.

    Assumed: that the hub rows carry the columns of every BIG-bench configuration there.
    """
    return Source(
        name=name,
        variants=(
            Variant(
                name="default",
                rows=rows,
                digest=None,
                layouts=((f"{name}/task.json",),),
                read=bigbench.read_task,
                hub=Hub("hails/bigbench", "default", bigbench.hub_rows, f"{name}_zero_shot"),
            ),
        ),
        fields=_CHOICES,
        licence="Apache-2.0",
        homepage=f"{_BIG_BENCH}/{name}",
        key=bigbench.choice_key,
    )


SCORED = (
    Source(
        name="crows_pairs",
        variants=(
            Variant(
                name="revised",
                rows=1677,
                digest=None,
                # The file name of the revised English set in BigScienceBiasEval/
                # crows_pairs_multilingual, which jannalu's repository converts.
                layouts=(("crows_pairs/test_EN.jsonl",),),
                read=readers.from_jsonl(readers.crows_row),
                # Assumed: that stereo_antistereo and bias_type are texts or class labels there.
                hub=Hub(
                    repo="jannalu/crows_pairs_multilingual",
                    split="test",
                    config="english",
                    read=readers.from_hub(readers.crows_row),
                ),
            ),
            Variant(
                name="original",
                rows=1508,
                digest="ce39117f0fc50aadff2ca916f6268b14d1a27cd66757d5ae34b6318df47dde5b",
                layouts=(("crows_pairs/crows_pairs_anonymized.csv",),),
                read=readers.from_csv(
                    readers.crows_row, "sent_more", "sent_less", "stereo_antistereo", "bias_type"
                ),
                note="the original release of 1508 pairs; the paper used the revised 1677",
            ),
        ),
        fields=dict.fromkeys(("sent_more", "sent_less", "stereo_antistereo", "bias_type"), str),
        licence="CC BY-SA 4.0",
        homepage="https://github.com/nyu-mll/crows-pairs",
    ),
    Source(
        name="bbq_lite",
        variants=(
            Variant(
                name="default",
                rows=16076,
                digest="dee2267c4b2f7bb30baff69540764cd798b31990d7b139e21f440022e0f4b3ee",
                layouts=(
                    tuple(
                        f"bbq_lite_json/{category}_{condition}/task.json"
                        for category in _BBQ_CATEGORIES
                        for condition in ("ambig", "disambig")
                    ),
                ),
                read=bigbench.read_bbq,
                hub=Hub("hails/bigbench", "default", bigbench.hub_bbq, "bbq_lite_json_zero_shot"),
            ),
        ),
        fields={**_CHOICES, "category": str, "group": str},
        extras=("category", "group"),
        licence="Apache-2.0",
        homepage=f"{_BIG_BENCH}/bbq_lite_json",
        key=bigbench.choice_key,
    ),
    Source(
        name="winogrande",
        variants=(
            Variant(
                name="default",
                rows=1267,
                digest="d1e5bb9db92c3d5c6142547d6290b2047949c2145138965938bebb221092a7eb",
                layouts=(
                    ("winogrande/winogrande_xl_validation.jsonl",),
                    ("winogrande/dev.jsonl",),
                ),
                read=readers.from_jsonl(readers.winogrande_row),
                hub=Hub(
                    repo="allenai/winogrande",
                    split="validation",
                    config="winogrande_xl",
                    read=readers.from_hub(readers.winogrande_row),
                ),
            ),
        ),
        fields=dict.fromkeys(("sentence", "option1", "option2", "answer"), str),
        licence="CC BY",
        homepage="https://github.com/allenai/winogrande",
    ),
    _ethics(
        "ethics_commonsense",
        "commonsense",
        "cm",
        3885,
        "c597da29643c9d5e14f30c911c71a925103ba5baa26677e6f98868c65f6fcc7f",
        {"label": int, "input": str},
        readers.commonsense_row,
    ),
    _ethics(
        "ethics_justice",
        "justice",
        "justice",
        2704,
        "40f77ebd29f0ac8a91a38ec25a0b5d174cd693e71765dfac5c2966a5c5cf09a3",
        {"label": int, "scenario": str},
        readers.justice_row,
    ),
    _ethics(
        "ethics_deontology",
        "deontology",
        "deontology",
        3596,
        "985014caab40c418a2e1ac46581c9e4bf59401e793cc9bdc1b052e6abcc2bda6",
        {"label": int, "scenario": str, "excuse": str},
        readers.deontology_row,
    ),
    _ethics(
        "ethics_utilitarianism",
        "utilitarianism",
        "util",
        4808,
        "14c5a435ee83767cb59e37a3581739b6e78a3b0797e2f143ec7ece9a2601902e",
        {"activity": str, "baseline": str},
        readers.utilitarianism_row,
        header=False,
    ),
    _ethics(
        "ethics_virtue",
        "virtue",
        "virtue",
        4975,
        "b0d989180ca24cdf9925acfa8211b1c37e23a41cdfe7ca7c9c13c6eacc2abb67",
        {"label": int, "scenario": str, "trait": str},
        readers.virtue_csv_row,
        readers.virtue_row,
    ),
    _big_bench("moral_permissibility", 342),
    _big_bench("simple_ethical_questions", 115),
    Source(
        name="hhh_alignment",
        variants=(
            Variant(
                name="default",
                rows=221,
                digest="d6d98c3ef9e13ef4661cd4f25e542d801c5f668b1fd9ce73e52f9954fd260fda",
                layouts=(
                    tuple(
                        f"hhh_alignment/{part}.json"
                        for part in ("harmless", "helpful", "honest", "other")
                    ),
                ),
                read=bigbench.read_hhh,
                hub=Hub("hails/bigbench", "default", bigbench.hub_hhh, "hhh_alignment_zero_shot"),
            ),
        ),
        fields={**_CHOICES, "subset": str},
        extras=("subset",),
        licence="Apache-2.0",
        homepage="https://huggingface.co/datasets/HuggingFaceH4/hhh_alignment",
        key=bigbench.choice_key,
    ),
    Source(
        name="toxigen",
        variants=(
            Variant(
                name="test",
                rows=940,
                digest=None,
                # The hub split written out as JSON lines: its own files are Parquet.
                layouts=(("toxigen/annotated_test.jsonl",),),
                read=readers.from_jsonl(readers.toxigen_row),
                # Assumed: texts are plain there (an older CSV wrapped them as b'…'); either way
                # they are used as they come, as lm-evaluation-harness does.
                hub=Hub(
                    repo="skg/toxigen-data",
                    split="test",
                    config="annotated",
                    revision="1885c17d3f07c406929d7f2cbb8cd28552691f9c",
                    read=readers.from_hub(readers.toxigen_row),
                ),
            ),
            Variant(
                name="train-sample",
                rows=940,
                digest="ede0993f444478c730f5d5df0a94a2079c35bdf868c33da9c394ee993371b9ce",
                layouts=(("toxigen/annotated_train_sample.jsonl",),),
                read=readers.from_jsonl(readers.toxigen_row),
                note="a stand-in of 940 rows drawn from the train split; the paper used the test "
                "split",
            ),
        ),
        fields={"text": str, "target_group": str, "toxicity_ai": float, "toxicity_human": float},
        licence="not stated by the publisher",
        homepage="https://github.com/microsoft/TOXIGEN",
    ),
)
