"""Settings of a process: read once from its environment, checked together, reported in one format.

Each process has one class of settings, a subclass of `ServiceSettings` or `SettingsGroup`. A field is one environment
variable: `validation_alias` is its name, `description` its meaning, and `Accepts` its values in words. Error messages
and docs/settings.md follow from these. Only `__main__` modules and the commands of `deploy` pass an environment.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.errors import Unusable
from shared.nats.connection import Access

DEFAULT_NATS_URL: Final = "nats://127.0.0.1:4222"
_PORTS: Final = range(1, 65_536)
_SWITCH: Final = {"": False, "0": False, "false": False, "1": True, "true": True}
_MAX_SHOWN: Final = 200
_NATS_SCHEMES: Final = ("nats", "tls", "ws", "wss")


G = TypeVar("G", bound="SettingsGroup")


class InvalidSettings(Unusable):
    """Every problem with the settings of a process, one a line."""


@dataclass(frozen=True, slots=True)
class Accepts:
    """Values of a setting in words, as they follow "must be". No message shows the value of a secret."""

    values: str
    secret: bool = False
    empty: bool = False
    """True if an empty variable is a value; otherwise it counts as unset."""


class Variable(NamedTuple):
    """One environment variable of a class of settings."""

    name: str
    accepts: Accepts
    field: FieldInfo


class SettingsGroup(BaseSettings):
    """Settings that belong together. Constructing them reads no environment; `read` does."""

    model_config = SettingsConfigDict(case_sensitive=True, validate_by_name=True, validate_by_alias=True, frozen=True)

    @classmethod
    def settings_customise_sources(  # the signature is pydantic-settings'
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keeps the constructor's arguments as the only source; `read` passes what the environment says."""
        return (init_settings,)

    @classmethod
    def read(cls, environment: MutableMapping[str, str]) -> Self:
        """Reads *environment* and takes the secrets out of it, so that no child process inherits them (docs/adr/0010).

        Raises InvalidSettings with all problems.
        """
        try:
            return cls(**_Environment(cls, environment)())
        except ValidationError as error:
            raise InvalidSettings("\n".join(_problems(cls, error))) from None  # its cause would show secrets
        finally:
            for variable in variables_of(cls):
                if variable.accepts.secret:
                    environment.pop(variable.name, None)


def read_or_exit(settings: type[G], environment: MutableMapping[str, str]) -> G:
    """Reads the settings of a command; prints their problems and exits with status 78 if there are any."""
    try:
        return settings.read(environment)
    except InvalidSettings as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(os.EX_CONFIG)


class _Environment(EnvSettingsSource):
    """The given environment as a source of settings: plain text for each field, a dictionary for each group."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found = ((variable, self._environment.get(variable.name)) for variable in variables_of(self.settings_cls))
        return {variable.name: value for variable, value in found if value or (value == "" and variable.accepts.empty)}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        group = _group(field)
        if group is None:
            return super().get_field_value(field, field_name)
        return _Environment(group, self._environment)(), field_name, False

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:  # noqa: ARG002, FBT001 - pydantic-settings' signature
        """Returns *value* as it is: lists are not JSON here."""
        return value


def variables_of(settings: type[BaseSettings]) -> Iterator[Variable]:
    """Returns the environment variables of a class, those of its groups included."""
    for field in settings.model_fields.values():
        if (group := _group(field)) is not None:
            yield from variables_of(group)
        elif isinstance(field.validation_alias, str):
            yield Variable(field.validation_alias, _accepts(field), field)


def _group(field: FieldInfo) -> type[SettingsGroup] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, SettingsGroup) else None


def _accepts(field: FieldInfo) -> Accepts:
    def of(annotation: Any) -> Iterator[Accepts]:
        yield from (each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Accepts))
        for argument in get_args(annotation):
            yield from of(argument)

    return next((each for each in field.metadata if isinstance(each, Accepts)), None) or next(of(field.annotation))


def _problems(settings: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        raised = detail.get("ctx", {}).get("error")
        reason = str(raised) if isinstance(raised, ValueError) else ""
        field = _field_at(settings, detail["loc"])
        yield reason or detail["msg"] if field is None else _problem(field, detail, reason)


def _field_at(settings: type[BaseSettings], location: tuple[int | str, ...]) -> FieldInfo | None:
    """Returns the field that an error is about, or None if it is about a group as a whole."""
    kind = settings
    for part in location:
        fields = kind.model_fields
        found = fields.get(str(part)) or next((each for each in fields.values() if each.validation_alias == part), None)
        group = _group(found) if found is not None else None
        if group is None:
            return found
        kind = group
    return None


def _problem(field: FieldInfo, detail: ErrorDetails, reason: str) -> str:
    accepts = _accepts(field)
    if detail["type"] == "missing":
        return f"{field.validation_alias} is not set; it must be {accepts.values}"
    given = "" if accepts.secret else f", not {_without_credentials(str(detail['input']))[:_MAX_SHOWN]!r}"
    return f"{field.validation_alias} must be {accepts.values}{given}{f' ({reason})' if reason else ''}"


def _without_credentials(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", text)


# --- types of values ---------------------------------------------------------------


def _port(value: str | int) -> int:
    if str(value).isdecimal() and int(value) in _PORTS:
        return int(value)
    raise ValueError


def _switch(value: str | bool) -> bool:  # noqa: FBT001 - a validator's argument
    meaning = _SWITCH.get(str(value).strip().lower())
    if meaning is None:
        raise ValueError
    return meaning


def _nats_urls(text: str) -> str:
    for server in text.split(","):
        url = urlsplit(server if "//" in server else f"nats://{server}")
        try:
            usable = url.hostname and url.scheme in _NATS_SCHEMES and url.port != 0
        except ValueError:  # no port number
            usable = False
        if not usable:
            raise ValueError
    return text


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None


Port = Annotated[int, BeforeValidator(_port), Accepts("a port number")]
Switch = Annotated[bool, BeforeValidator(_switch), Accepts("true or false (or 1 or 0)")]
ReadableFile = Annotated[Path, AfterValidator(_readable), Accepts("the path of a file that the process can read")]
NatsUrls = Annotated[
    str, AfterValidator(_nats_urls), Accepts("URLs of NATS servers like nats://127.0.0.1:4222, separated by commas")
]
Host = Annotated[str, Accepts("a host name or an IP address")]


def read_private_file(path: Path, max_bytes: int = 65_536) -> bytes:
    """Returns the content of a file with a secret. Raises ValueError if others can read or replace it."""
    try:
        with path.open("rb") as file:
            if is_open_to_others(os.fstat(file.fileno())):
                raise ValueError("it is open to others than its owner: chmod 600 it")
            return file.read(max_bytes)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None


def is_open_to_others(file: os.stat_result) -> bool:
    """Returns whether more than its owner can read or replace a file with a secret.

    A group may read a file that another user owns: Kubernetes mounts secrets so, for the pod's group (fsGroup).
    """
    mode, own = file.st_mode, file.st_uid == os.geteuid()
    return bool(mode & (stat.S_IRWXO | stat.S_IWGRP) or (own and mode & stat.S_IRWXG))


# --- groups that every process has -------------------------------------------------


class NatsSettings(SettingsGroup):
    """Servers, identity and TLS of the connection to NATS (docs/security.md)."""

    url: NatsUrls = Field(DEFAULT_NATS_URL, validation_alias="NATS_URL", description="the servers to connect to")
    creds: ReadableFile | None = Field(
        None,
        validation_alias="NATS_CREDS",
        description="credentials (JWT and seed) for a server in operator mode",
    )
    nkey: ReadableFile | None = Field(None, validation_alias="NATS_NKEY", description="the seed of a user")
    user: Annotated[str, Accepts("a user name")] | None = Field(
        None, validation_alias="NATS_USER", description="a user with a password"
    )
    password_file: ReadableFile | None = Field(
        None, validation_alias="NATS_PASSWORD_FILE", description="the password of `NATS_USER`"
    )
    ca: ReadableFile | None = Field(
        None, validation_alias="NATS_CA", description="CA certificates (PEM) of the servers; enables TLS 1.3"
    )
    cert: ReadableFile | None = Field(
        None, validation_alias="NATS_CERT", description="the client certificate (PEM), if the server asks for one"
    )
    key: ReadableFile | None = Field(None, validation_alias="NATS_KEY", description="the key (PEM) of `NATS_CERT`")
    _access: Access = PrivateAttr()

    @property
    def access(self) -> Access:
        return self._access

    @model_validator(mode="after")
    def _combine(self) -> Self:
        problems = list(self._contradictions())
        if problems:
            raise ValueError("\n".join(problems))
        self._access = Access(
            credentials=self.creds,
            nkey=self.nkey,
            user=self.user,
            password=_password(self.password_file) if self.password_file else None,
            tls=_tls_context(self.ca, self.cert, self.key),
        )
        return self

    def _contradictions(self) -> Iterator[str]:
        if sum(each is not None for each in (self.creds, self.nkey, self.user)) > 1:
            yield "NATS_CREDS, NATS_NKEY and NATS_USER are alternatives: set only one of them"
        if (self.user is None) != (self.password_file is None):
            yield "NATS_USER and NATS_PASSWORD_FILE need each other: set both or neither"
        if (self.cert is None) != (self.key is None):
            yield "NATS_CERT and NATS_KEY need each other: set both or neither"
        if self.cert is not None and self.ca is None:
            yield "NATS_CERT needs NATS_CA, the CA certificates of the server"


def _password(path: Path) -> str:
    try:
        return path.read_text().strip()
    except UnicodeDecodeError:
        raise ValueError(f"NATS_PASSWORD_FILE must be a file of UTF-8 text, not {str(path)!r}") from None


def _tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(ca))
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ValueError(
            f"NATS_CA, NATS_CERT and NATS_KEY must be PEM files that fit each other ({error.reason or error})"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class HealthSettings(SettingsGroup):
    """Address of `/livez` and `/readyz`."""

    host: Host = Field("127.0.0.1", validation_alias="HEALTH_HOST", description="the address that answers probes")
    port: Port | None = Field(
        None, validation_alias="HEALTH_PORT", description="the port that answers `/livez` and `/readyz`; unset: none"
    )


class LogSettings(SettingsGroup):
    """Form of the log on stderr."""

    format: Annotated[Literal["text", "json"], Accepts("text or json")] = Field(
        "text", validation_alias="LOG_FORMAT", description="lines for people, or a JSON object a line"
    )


_Url = Annotated[str, Accepts("a URL")]


class TelemetrySettings(SettingsGroup):
    """Export by OpenTelemetry. Its SDK reads further `OTEL_` variables by itself."""

    disabled: Switch = Field(
        default=False, validation_alias="OTEL_SDK_DISABLED", description="exports nothing, whatever the endpoints are"
    )
    endpoint: _Url | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT", description="the collector; unset: nothing is exported"
    )
    traces_endpoint: _Url | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", description="the collector of traces"
    )
    metrics_endpoint: _Url | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", description="the collector of metrics"
    )

    @property
    def is_wanted(self) -> bool:
        return not self.disabled and any((self.endpoint, self.traces_endpoint, self.metrics_endpoint))


class ServiceSettings(SettingsGroup):
    """Settings of every service."""

    nats: NatsSettings = Field(default_factory=NatsSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
