"""The CIM subject algebra: subjects are a free monoid of tokens, patterns are partially ordered by what they cover.

The grammar is section 1 of docs/contract.md; `*` stands for exactly one token, `>` for one or more, last only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Subject:
    """A path of tokens; with ``*`` or ``>`` in it, a pattern over such paths. ``Subject()`` is the identity."""

    tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for position, token in enumerate(self.tokens):
            if token == ">" and position != len(self.tokens) - 1:
                raise ValueError(f"'>' may stand only at the end of a pattern: {self}")
            if token not in ("*", ">") and not _TOKEN.fullmatch(token):
                raise ValueError(f"not a subject token ([A-Za-z0-9_-]+, '*' or '>'): {token!r}")

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Read the dotted form. Raises ValueError with the offending token."""
        return cls(tuple(text.split(".")) if text else ())

    def __str__(self) -> str:
        return ".".join(self.tokens)

    def __add__(self, other: Subject) -> Subject:
        """Concatenation, the monoid's operation."""
        return Subject(self.tokens + other.tokens)

    @property
    def literal(self) -> bool:
        """Whether a message can be published on it: not empty, no wildcard."""
        return bool(self.tokens) and not {"*", ">"} & set(self.tokens)

    def covers(self, other: Subject) -> bool:
        """Whether every subject that matches *other* also matches this pattern."""
        for position, token in enumerate(self.tokens):
            if token == ">":
                return len(other.tokens) > position
            if position >= len(other.tokens) or other.tokens[position] == ">":
                return False
            if token not in ("*", other.tokens[position]):
                return False
        return len(self.tokens) == len(other.tokens)

    def overlaps(self, other: Subject) -> bool:
        """Whether some subject matches both patterns."""
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
        """Replace the single wildcards, left to right. Raises ValueError unless there is one value for each."""
        if self.tokens.count("*") != len(values):
            raise ValueError(f"{self} takes {self.tokens.count('*')} values, got {len(values)}")
        left = iter(values)
        return Subject(tuple(next(left) if token == "*" else token for token in self.tokens))

    def captures(self, subject: Subject) -> tuple[str, ...]:
        """What stands in *subject* where this pattern has ``*``: `fill` undone."""
        return tuple(theirs for mine, theirs in zip(self.tokens, subject.tokens, strict=False) if mine == "*")


@dataclass(frozen=True, slots=True)
class Permission:
    """What somebody may publish or read: allowed and denied patterns, of which deny wins."""

    allow: frozenset[Subject] = frozenset()
    deny: frozenset[Subject] = frozenset()

    def __or__(self, other: Permission) -> Permission:
        """The join: both sides united; nothing that was denied becomes allowed by it."""
        return Permission(self.allow | other.allow, self.deny | other.deny)

    def permits(self, subject: Subject) -> bool:
        return any(p.covers(subject) for p in self.allow) and not any(p.covers(subject) for p in self.deny)
