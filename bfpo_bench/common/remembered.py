"""What was found out before, in the user's cache folder; losing it costs time only."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class Memory:
    """Findings of one kind, each under the text of all that it depends on."""

    def __init__(self, kind: str) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        self._folder = Path(base) / "bfpo-bench" / kind

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.json"

    def recall(self, name: str) -> dict[str, Any] | None:
        """What was kept under a name; None where nothing was, or it cannot be read."""
        try:
            known = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return known if isinstance(known, dict) else None

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Keeps plain JSON values under a name."""
        target = self._file(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(found), encoding="utf-8")
            temporary.replace(target)
        except OSError:
            # A read-only home is no reason to fail.
            return
