"""Errors of message handling, each with the reaction of the consumer, and the error of an unusable environment.

A rejected command is not an error: `shared.decider.Rejection` is a result.
"""


class Conflict(Exception):
    """Another writer was first: load and decide again, at once."""


class Transient(Exception):
    """A server or device is not available now: redeliver the message later, with backoff."""


class Poison(Exception):
    """No redelivery can process the message: reply, and store it as a dead letter."""


class Unusable(Exception):
    """The environment or a setting is unusable (server too old, streams differ): the process must not run."""
