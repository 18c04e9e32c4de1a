"""Base classes of all messages, and value types that several messages share."""

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
"""Default of an id that the client may omit: the service derives it from the command's id."""


def _bytes_from_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("must be standard, padded base64") from error


def _integer_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _lower_case_uuid(value: str) -> str:
    """Rejects upper case: ids are tokens of subjects, which are case-sensitive, so an id has one spelling."""
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
    AfterValidator(_lower_case_uuid),
    WithJsonSchema({"type": "string", "format": "uuid", "pattern": _UUID.pattern}),
    Field(description="a UUID; the suite generates version 7"),
]
Pem = Annotated[str, StringConstraints(pattern=r"^-----BEGIN ", max_length=32_768)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
DeviceSerial = Annotated[
    str,
    BeforeValidator(_integer_as_text),
    StringConstraints(pattern=r"^[1-9][0-9]{0,9}$"),
    Field(description="a YubiKey's serial number, decimal, without leading zeros"),
]
ValidityDays = Annotated[int, Field(ge=1, le=36_525)]


class Message(BaseModel):
    """A message about one aggregate: immutable, without unknown fields, without type coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    aggregate_type: ClassVar[str]
    identified_by: ClassVar[str]
    schema_version: ClassVar[int] = 1
    service: ClassVar[str] = ""
    """The service that owns the aggregate, if its name differs from the aggregate type."""

    @classmethod
    def answered_by(cls) -> str:
        """Returns the service that handles this command, or publishes this event."""
        return cls.service or cls.aggregate_type

    @property
    def identity(self) -> str:
        """Id of the aggregate that the message is about; the last token of an event's subject."""
        return str(getattr(self, self.identified_by))

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        """Values for the wildcards of this message's pattern in subjects.yaml."""
        return (self.identity,)


class Command(Message):
    """A request to change one aggregate, named in the imperative. The service may reject it."""

    max_body_bytes: ClassVar[int] = 131_072

    @property
    def subject_tokens(self) -> tuple[str, ...]:
        return ()


class UnknownSchemaVersion(ValueError):
    """A stored body has a schema version that this release does not support; the message names it."""


class Event(Message):
    """A fact about one aggregate, named in the past tense. It is never rejected, changed or deleted.

    *upcasts* turn a stored body of each earlier schema version into one of the next, oldest first. A new field with a
    default needs none. The current schema version is one more than their number.
    """

    upcasts: ClassVar[tuple[Upcast, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.schema_version = len(cls.upcasts) + 1

    @classmethod
    def from_stored(cls, data: bytes, version: str) -> Self:
        """Decodes an event of any earlier release.

        Raises UnknownSchemaVersion for an unknown *version*, and pydantic's ValidationError for a malformed body.
        """
        if version == str(cls.schema_version):
            return cls.model_validate_json(data)
        if not version.isascii() or not version.isdigit() or not 0 < int(version) < cls.schema_version:
            supported = f"1 to {cls.schema_version}" if cls.schema_version > 1 else "1"
            raise UnknownSchemaVersion(
                f"this release supports {cls.__name__} in schema version {supported}, not {version[:20]!a}"
            )
        body: dict[str, Any] = from_json(data)
        for upcast in cls.upcasts[int(version) - 1 :]:
            body = upcast(body)
        return cls.model_validate_json(to_json(body))
