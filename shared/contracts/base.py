"""What every message has in common, and the value types that more than one message is made of."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import from_json, to_json

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
DERIVED = ""
"""The default of an id that its client may leave out: the runtime derives it from the command's id."""


def _bytes_from_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("must be standard, padded base64") from error


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _uuid_as_a_token(value: str) -> str:
    """Ids are tokens of subjects, which differ by case: one id must not have two spellings."""
    if not _UUID.fullmatch(value):
        raise ValueError("must be a UUID in lower case, like 0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f")
    return value


Base64 = Annotated[
    bytes,
    BeforeValidator(_bytes_from_base64),
    PlainSerializer(lambda raw: base64.b64encode(raw).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
Id = Annotated[
    str,
    AfterValidator(_uuid_as_a_token),
    WithJsonSchema({"type": "string", "format": "uuid", "pattern": _UUID.pattern}),
    Field(description="a UUID, version 7 where the suite drew it"),
]
Pem = Annotated[str, StringConstraints(pattern=r"^-----BEGIN ", max_length=32_768)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
DeviceSerial = Annotated[
    str,
    BeforeValidator(_text),
    StringConstraints(pattern=r"^[1-9][0-9]{0,9}$"),
    Field(description="a YubiKey's serial number, decimal, without leading zeros"),
]
ValidityDays = Annotated[int, Field(ge=1, le=36_525)]


class Message(BaseModel):
    """Immutable, exact (unknown fields are errors, nothing is coerced), and about one aggregate."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    aggregate_type: ClassVar[str]
    identified_by: ClassVar[str]
    schema_version: ClassVar[int] = 1
    service: ClassVar[str] = ""
    """The service that answers for the aggregate, where it is not named like it."""

    @classmethod
    def answered_by(cls) -> str:
        """The service that answers this message if it is a command, and publishes it if it is an event."""
        return cls.service or cls.aggregate_type

    @property
    def identity(self) -> str:
        """The id of the aggregate that the message is about; the last token of an event's subject."""
        return str(getattr(self, self.identified_by))

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        """What fills the wildcards of this message's line in subjects.yaml."""
        return (self.identity,)


class Command(Message):
    """A wish, in the imperative. It may be refused. *largest*: how many bytes its body may have."""

    max_body_bytes: ClassVar[int] = 131_072

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return ()


class UnknownSchemaVersion(ValueError):
    """A body is of a version of its schema that is not known here; the message says which."""


class Event(Message):
    """A fact, in the past tense. It is never refused, changed or deleted.

    *lifts*: how a body of each earlier version of its schema becomes one of the next, the oldest first. A field with a
    default needs none. Today's version follows from how many there are.
    """

    upcasts: ClassVar[tuple[Upcast, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.schema_version = len(cls.upcasts) + 1

    @classmethod
    def from_stored(cls, data: bytes, version: str) -> Self:
        """The event as the log has it, whichever version of the suite stored it. Raises OtherSchema for a version that
        is not known here, and what pydantic raises (a ValueError like that) for what is none."""
        if version == str(cls.schema_version):
            return cls.model_validate_json(data)
        if not version.isascii() or not version.isdigit() or not 0 < int(version) < cls.schema_version:
            known = f"1 to {cls.schema_version}" if cls.schema_version > 1 else "1"
            raise UnknownSchemaVersion(
                f"a {cls.__name__} is read here of version {known} of its schema, not of {version[:20]!a}"
            )
        body: dict[str, Any] = from_json(data)
        for lift in cls.upcasts[int(version) - 1 :]:
            body = lift(body)
        return cls.model_validate_json(to_json(body))
