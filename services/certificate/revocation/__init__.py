"""Revocation records: the register of CRL entries, folded from the log."""
