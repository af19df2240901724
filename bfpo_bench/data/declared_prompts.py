"""The declared sources of the tasks that ask for a response; see :mod:`.declared`."""

from __future__ import annotations

from bfpo_bench.data import readers
from bfpo_bench.data.source import Hub, Source, Variant


def _alert(
    name: str, rows: int | None, fields: tuple[str, ...], convert: readers.Convert
) -> Source:
    """ALERT. Assumed: the frame around the prompts (see the reader); no copy was at hand."""
    return Source(
        name=name,
        variants=(
            Variant(
                name="default",
                rows=rows,
                digest=None,
                layouts=((f"alert/{name}.jsonl",),),
                read=readers.from_jsonl(convert),
                hub=Hub(
                    repo="Babelscape/ALERT",
                    split="test",
                    config=name,
                    revision="f57efbc1218d455d48961c4da03ff470b8390aed",
                    read=readers.from_hub(convert),
                ),
            ),
        ),
        fields=dict.fromkeys(fields, str),
        extras=fields[1:],
        licence="CC BY-NC-SA 4.0",
        homepage="https://github.com/Babelscape/ALERT",
    )


PROMPTS = (
    Source(
        name="advbench",
        variants=(
            Variant(
                name="full",
                rows=520,
                digest="6a0e6b7f09d8431196e3740775d96384bcbf5d76a20e3d44a9e92b68c2576e0e",
                layouts=(("advbench/harmful_behaviors.csv",),),
                read=readers.from_csv(readers.advbench_row, "goal", "target"),
                # A mirror behind a form: its terms must be accepted on the hub once.
                hub=Hub("walledai/AdvBench", "train", readers.from_hub(readers.advbench_hub_row)),
            ),
            Variant(
                name="transfer",
                rows=388,
                digest="9c7b22fdf69dadf3244754e40d2f4aa17a1407d219bd0c4b9d29fb8f6599a463",
                layouts=(("advbench/transfer_experiment_behaviors.csv",),),
                read=readers.read_advbench_transfer,
                note="the transfer subset of 388 goals that the authors released; the printed "
                "figures fit the full 520",
            ),
        ),
        fields={"goal": str, "target": str},
        licence="MIT",
        homepage="https://github.com/llm-attacks/llm-attacks",
    ),
    Source(
        name="realtoxicityprompts",
        variants=(
            Variant(
                name="default",
                rows=1199,
                digest=None,  # the copy at hand lacks three rows
                layouts=(
                    ("realtoxicityprompts/challenging.jsonl",),
                    ("realtoxicityprompts/prompts.jsonl",),
                ),
                read=readers.read_toxicity_prompts,
                hub=Hub(
                    repo="allenai/real-toxicity-prompts",
                    split="train",
                    revision="d3a6507562064c4f37cdf267bdc2faa7b0873173",
                    read=readers.hub_toxicity_prompts,
                ),
            ),
        ),
        fields={"prompt": str, "filename": str},
        extras=("filename",),
        licence="Apache-2.0",
        homepage="https://github.com/allenai/real-toxicity-prompts",
    ),
    _alert("alert", 14763, ("prompt", "category", "id"), readers.alert_row),
    # "about 30,000" is all that is known of its size.
    _alert(
        "alert_adversarial",
        None,
        ("prompt", "category", "attack_type", "id"),
        readers.alert_adversarial_row,
    ),
    Source(
        name="alpaca_eval",
        variants=(
            Variant(
                name="default",
                rows=805,
                digest="92d50e7f238ed4c9d616ce7ba91dbf44360de2184cee473cca052e2bedc9a739",
                layouts=(("alpacaeval/results/gpt4_1106_preview/model_outputs.json",),),
                read=readers.read_alpaca_eval,
                # The repository holds a loading script too, so the file is opened by its address.
                hub=Hub(
                    repo="tatsu-lab/alpaca_eval",
                    split="eval",
                    revision="2955709b93b0e08df511a752a3874b0a89b8910b",
                    file="alpaca_eval_gpt4_baseline.json",
                    builder="json",
                    read=readers.from_hub(readers.alpaca_eval_row),
                ),
            ),
        ),
        fields={
            "instruction": str,
            "dataset": str,
            "reference_output": str,
            "reference_model": str,
            "constraint": dict,  # bundled items only: what a response must fulfil, checkable
        },
        extras=("reference_output", "reference_model", "constraint"),
        licence="CC BY-NC 4.0",
        homepage="https://github.com/tatsu-lab/alpaca_eval",
    ),
)
