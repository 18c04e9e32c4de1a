"""Decisions about YubiKeys, their slots and prompts. Pure: no clock, no randomness, no IO."""
