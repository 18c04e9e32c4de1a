"""Atomic writes of files, by default readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE, PUBLIC = 0o600, 0o644


def write_atomically(path: Path, content: str | bytes, mode: int = PRIVATE) -> None:
    """Replaces *path* by rename: after a crash it has the old content or the new."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    draft.rename(path)
