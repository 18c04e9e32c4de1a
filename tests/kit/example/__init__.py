"""The saga of docs/contributing.md, as a newcomer writes one: a definition and a test."""
