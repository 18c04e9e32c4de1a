"""Lints that every certificate must pass before it is signed: our own, and pkilint."""
