"""The kernel of every service: messages and contracts, the decider, the event store, the runtime."""

__version__ = "0.4.0"
"""The version of the whole suite: every distribution, the CHANGELOG and AsyncAPI carry the same one."""
