"""When a process looks for garbage that refers to itself."""

from __future__ import annotations

import gc

GC_THRESHOLDS = (20_000, 20, 100)


def tune_gc() -> None:
    """Look for cycles of garbage seldom, and never among what stands from the start: nearly all that a message leaves
    behind is freed by its count of references, and each full look walks every state that is remembered."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
