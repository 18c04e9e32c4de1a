"""Saga coordinator: drives multi-step processes by commands to the services, and compensates those that fail."""
