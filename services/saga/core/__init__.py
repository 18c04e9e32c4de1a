"""Saga state machine. Pure: no clock, no randomness, no IO."""
