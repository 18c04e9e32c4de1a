"""The event store, idempotent publishing, replies to commands, dead letters, and single-flight reads."""
