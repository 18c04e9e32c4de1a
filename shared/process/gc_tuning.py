"""GC tuning: freeze after start-up, collect cycles rarely."""

from __future__ import annotations

import gc

GC_THRESHOLDS = (20_000, 20, 100)


def tune_gc() -> None:
    """Freezes what start-up allocated, and lets the collector run rarely.

    Reference counting frees nearly all that a message leaves behind; each full collection walks every cached state.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
