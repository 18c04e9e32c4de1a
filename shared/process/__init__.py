"""A service as a process: its lifecycle, consumers, runtime, health and settings."""
