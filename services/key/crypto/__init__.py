"""Key algorithms and key formats; no storage, no policy."""
