"""The three ways handling a message can go wrong; each names what the transport must do next.

What a command is refused for is not here: a refusal is an answer (`shared.decider.Refused`), not an error.
"""


class Conflict(Exception):
    """Another writer was first: load again and decide again, at once."""


class Transient(Exception):
    """The world is not ready (server away, device busy): deliver the message again, later."""


class Poison(Exception):
    """No redelivery can help: answer, and never deliver the message again."""


class Unusable(Exception):
    """What this process was given to work with cannot be used (server too old, streams differ): it must not run."""
