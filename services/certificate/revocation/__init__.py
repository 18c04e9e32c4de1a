"""Revocation records: a register folded from the log."""
