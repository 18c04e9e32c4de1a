"""Commands and events of keys."""
