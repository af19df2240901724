"""``bfpo-bench compare``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import as_typed, command_app

EXAMPLE = """
Examples:

  bfpo-bench compare runs/zephyr runs/zephyr-bfpo

  bfpo-bench compare runs/sft runs/dpo runs/ipo runs/bfpo --format markdown --output compare.md

  bfpo-bench compare runs/candidate runs/released --gate gate.yaml --junit gate.xml

Every run is compared with the first one. Only runs of the same suite, data and judge are compared;
--force lifts that and says so in the output.

With --gate the first run is a candidate and the second its baseline, and the exit code says whether
the candidate is at most so much worse in each column as the policy allows: 0 it is (pass), 3 it is
shown not to be (fail), 4 the sample cannot tell (undecided). 2: they cannot be held against each
other, which --force does not change.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Two or more run directories (or folders of one model's seeds)."),
    ],
    format: Annotated[
        str, typer.Option(help="terminal, markdown, latex, csv or json.")
    ] = "terminal",
    output: Annotated[Path | None, typer.Option(help="File to write. [default: print]")] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Percentage points within which models count as alike. [default: 1]"),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Use this judge's verdicts. [default: each run's own]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    gate: Annotated[
        Path | None,
        typer.Option(help="Policy (YAML) that a candidate is held to, against a baseline."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="With --gate: a JUnit file to write, for CI.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare what was not measured alike; write over a file."),
    ] = False,
) -> None:
    """Which differences between runs are real? Paired tests, task by task."""
    import time

    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.files import atomic_write
    from bfpo_bench.common.foreign import place_of
    from bfpo_bench.leaderboard.compare import compare_runs
    from bfpo_bench.leaderboard.comparison import MARGIN
    from bfpo_bench.leaderboard.gate.gate import hold_against
    from bfpo_bench.leaderboard.gate.junit import junit_text
    from bfpo_bench.leaderboard.gate.policy import read_policy
    from bfpo_bench.leaderboard.gate.render import render_gate
    from bfpo_bench.leaderboard.render.comparison import check_format, render

    check_format(format)
    if gate is None:
        if junit is not None:
            raise BadInput("--junit goes with --gate, the policy that it would report on.")
        with _new_file(output, force) as place:
            alike = MARGIN if margin is None else margin
            found = compare_runs(runs, force=force, margin=alike, judge=judge, seed=seed)
            _put(place, output, "Comparison", lambda width: render(found, format, width))
        return
    if len(runs) != 2:
        raise BadInput(
            f"a gate holds one candidate against one baseline, and {len(runs)} "
            f"{'run is' if len(runs) == 1 else 'runs are'} named; write `bfpo-bench compare "
            f"CANDIDATE BASELINE --gate {gate}`."
        )
    if margin is not None:
        raise BadInput("--margin says nothing to a gate; write margins into its policy.")
    if junit is not None and output is not None and place_of(junit) == place_of(output):
        raise BadInput(f"--junit and --output are both {junit}; give one of them another name.")
    policy = read_policy(gate)
    started = time.monotonic()
    with (
        _new_file(output, force, policy=gate) as place,
        _new_file(junit, force, "junit", gate) as file,
    ):
        held = hold_against(runs[0], runs[1], policy, judge=judge, seed=seed)
        if file is not None:
            atomic_write(file, junit_text(held, time.monotonic() - started))
        _put(place, output, "Gate", lambda width: render_gate(held, format, width))
    raise typer.Exit(held.exit_code)


@contextmanager
def _new_file(
    path: Path | None, force: bool, option: str = "output", policy: Path | None = None
) -> Iterator[Path | None]:
    """The place of a file that an option names; None where it names none."""
    from bfpo_bench.common.files import new_file

    with ExitStack() as stack:
        place = None
        if path is not None:
            with as_typed({"output": option}):
                place = stack.enter_context(new_file(path, force, read=[policy]))
        yield place


def _put(place: Path | None, output: Path | None, title: str, text: Callable[[int], str]) -> None:
    """Writes to a file, or prints what fits the terminal.

    Args:
        text: for a width in characters.
    """
    import shutil

    from bfpo_bench.cli.terminal import say
    from bfpo_bench.common.files import atomic_write
    from bfpo_bench.common.text import visible
    from bfpo_bench.leaderboard.render.text import WIDTH

    if place is not None:
        atomic_write(place, text(WIDTH))
        say(f"{title}: {output}")
        return
    typer.echo(visible(text(shutil.get_terminal_size((WIDTH, 24)).columns)), nl=False)
