"""The preference file and its summary: never written over somebody else's."""

from __future__ import annotations

import hashlib
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_write, refuse_file_of_run
from bfpo_bench.redteam.options import RedteamOptions
from bfpo_bench.redteam.summary import Summary, read_summary
from bfpo_bench.run.identity import differences, formatless, is_earlier, nameless, shared_parts


def claim_output(options: RedteamOptions, made_of: dict[str, Any]) -> Summary | None:
    """The summary of a file that is there already and is what is asked for; None to write one.

    Raises:
        BadInput: the file is somebody else's or of something different, or cannot be written.
    """
    output = options.output
    for path in (output, options.summary_path):
        refuse_file_of_run(path)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        data = output.read_bytes() if output.exists() else None
    except OSError as error:
        raise BadInput(
            f"the pairs cannot be written to {output} ({error.strerror}); name another --output."
        ) from error
    if data is None:
        return None
    summary = read_summary(options.summary_path)
    if summary is None or summary.digest != hashlib.sha256(data).hexdigest():
        raise BadInput(
            f"{output} is there already, and not as a red teaming has written it; move it away or "
            "name another --output."
        )
    if options.fresh:
        return None
    both = nameless(summary.made_of), nameless(made_of)
    if options.dtype == "auto":
        both = formatless(both[0]), formatless(both[1])
    different = differences(*(shared_parts(*both) if is_earlier(summary.made_of) else both))
    if different:
        raise BadInput(
            f"{output} holds pairs of something different: {'; '.join(different)}. Name another "
            f"--output (with --run {options.run_folder} it takes up what was answered), or start "
            "over with --fresh."
        )
    return summary


def write_output(options: RedteamOptions, text: str, summary: Summary) -> None:
    """Writes pairs and summary. A kill in between leaves no file of pairs without its summary.

    Raises:
        RunFailed: the disk is full; the run directory keeps all that was computed.
    """
    output, path = options.output, options.summary_path
    for file in (output, path):
        for left in file.parent.glob(f".{file.name}.*.tmp"):
            left.unlink(missing_ok=True)
    output.unlink(missing_ok=True)
    atomic_write(path, summary.to_json())
    atomic_write(output, text)
