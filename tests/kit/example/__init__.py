"""Example saga of docs/contributing.md: a definition and its test."""
