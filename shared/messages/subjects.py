"""Subjects and patterns of subjects, their algebra, and the positions of their tokens (docs/contract.md, section 1).

Subjects are sequences of tokens under concatenation; patterns are partially ordered by the subjects they cover.
``*`` matches exactly one token; ``>`` matches one or more and comes last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_AGGREGATE, _EVENT_KIND, _SAGA_ANNOUNCEMENT = 2, 3, 4
"""Positions in ``keys.commands.<aggregate>…``, ``keys.events.<aggregate>.<kind>.<id>`` and
``keys.events.saga.<saga type>.<announcement>…``."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A sequence of tokens; with ``*`` or ``>`` in it, a pattern. ``Subject()`` is the identity of concatenation."""

    tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for position, token in enumerate(self.tokens):
            if token == ">" and position != len(self.tokens) - 1:
                raise ValueError(f"'>' may only be the last token of a pattern: {self}")
            if token not in ("*", ">") and not _TOKEN.fullmatch(token):
                raise ValueError(f"not a subject token ([A-Za-z0-9_-]+, '*' or '>'): {token!r}")

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Parses the dotted form. Raises ValueError with the offending token."""
        return cls(tuple(text.split(".")) if text else ())

    def __str__(self) -> str:
        return ".".join(self.tokens)

    def __add__(self, other: Subject) -> Subject:
        """Concatenates."""
        return Subject(self.tokens + other.tokens)

    @property
    def literal(self) -> bool:
        """True for a subject to which a message can be published: not empty, no wildcard."""
        return bool(self.tokens) and not {"*", ">"} & set(self.tokens)

    def covers(self, other: Subject) -> bool:
        """True if every subject that matches *other* also matches this pattern."""
        for position, token in enumerate(self.tokens):
            if token == ">":
                return len(other.tokens) > position
            if position >= len(other.tokens) or other.tokens[position] == ">":
                return False
            if token not in ("*", other.tokens[position]):
                return False
        return len(self.tokens) == len(other.tokens)

    def overlaps(self, other: Subject) -> bool:
        """True if some subject matches both patterns."""
        for position in range(max(len(self.tokens), len(other.tokens))):
            if position >= len(self.tokens) or position >= len(other.tokens):
                return False
            mine, theirs = self.tokens[position], other.tokens[position]
            if ">" in (mine, theirs):
                return True
            if "*" not in (mine, theirs) and mine != theirs:
                return False
        return True

    def fill(self, *values: str) -> Subject:
        """Replaces the single wildcards, left to right. Raises ValueError unless there is one value for each."""
        if self.tokens.count("*") != len(values):
            raise ValueError(f"{self} takes {self.tokens.count('*')} values, got {len(values)}")
        left = iter(values)
        return Subject(tuple(next(left) if token == "*" else token for token in self.tokens))

    def captures(self, subject: Subject) -> tuple[str, ...]:
        """Tokens of *subject* at the positions of ``*``: the inverse of `fill`."""
        return tuple(theirs for mine, theirs in zip(self.tokens, subject.tokens, strict=False) if mine == "*")


def aggregate_type_of(subject: str) -> str:
    """Type of the aggregate that a command or event is about. Raises IndexError for a shorter subject."""
    return subject.split(".")[_AGGREGATE]


def event_kind_of(subject: str) -> str:
    """Kind of an event that is not a saga's: ``signed`` of ``keys.events.certificate.signed.<id>``."""
    return subject.split(".")[_EVENT_KIND]


def saga_announcement_of(subject: str) -> str:
    """Kind of a saga's event: ``started`` of ``keys.events.saga.pki-bootstrap.started.<id>``."""
    return subject.split(".")[_SAGA_ANNOUNCEMENT]


@dataclass(frozen=True, slots=True)
class Permission:
    """Allowed and denied patterns of publishing or reading; a denied pattern takes precedence."""

    allow: frozenset[Subject] = frozenset()
    deny: frozenset[Subject] = frozenset()

    def __or__(self, other: Permission) -> Permission:
        """Joins both sides; a denied pattern stays denied."""
        return Permission(self.allow | other.allow, self.deny | other.deny)

    def permits(self, subject: Subject) -> bool:
        return any(p.covers(subject) for p in self.allow) and not any(p.covers(subject) for p in self.deny)
