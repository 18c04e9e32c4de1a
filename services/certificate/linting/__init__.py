"""Lint rules that every certificate passes before it is signed, and pkilint."""
