"""Settings of the key service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from services.key.secrets.source import KEY_LENGTH, MIN_PASSPHRASE_LENGTH, KeyFile, Passphrase, Secret
from shared.process.settings import Accepts, ServiceSettings, SettingsGroup, Switch

_ONE_OF = (
    "set exactly one of {0}PASSPHRASE_FILE and {0}KEK_FILE, to the path of the file with the secret, "
    "or of {0}PASSPHRASE and {0}KEK, to the secret itself"
)


def _passphrase_file(value: str | Passphrase) -> Passphrase:
    return value if isinstance(value, Passphrase) else Passphrase.read(Path(value))


def _key_file(value: str | KeyFile) -> KeyFile:
    return value if isinstance(value, KeyFile) else KeyFile.read(Path(value))


def _passphrase(value: str | Passphrase) -> Passphrase:
    return value if isinstance(value, Passphrase) else Passphrase.parse(value)


def _key(value: str | KeyFile) -> KeyFile:
    return value if isinstance(value, KeyFile) else KeyFile.parse(value)


PassphraseFile = Annotated[
    Passphrase,
    BeforeValidator(_passphrase_file),
    Accepts(f"the path of a file whose first line has {MIN_PASSPHRASE_LENGTH} or more characters"),
]
KekFile = Annotated[
    KeyFile,
    BeforeValidator(_key_file),
    Accepts(f"the path of a private file with exactly {KEY_LENGTH} octets, raw or in hexadecimal"),
]
PassphraseText = Annotated[
    Passphrase,
    BeforeValidator(_passphrase),
    Accepts(f"a passphrase of {MIN_PASSPHRASE_LENGTH} or more characters", secret=True),
]
KekText = Annotated[
    KeyFile,
    BeforeValidator(_key),
    Accepts(f"exactly {KEY_LENGTH} octets, as 64 hexadecimal digits or in base64", secret=True),
]


class KekSettings(SettingsGroup):
    """The secret of the key-encryption key: exactly one of four."""

    prefix: ClassVar = "KEY_"
    passphrase_file: PassphraseFile | None = Field(
        None, validation_alias="KEY_PASSPHRASE_FILE", description="the passphrase of the key-encryption key", repr=False
    )
    kek_file: KekFile | None = Field(
        None, validation_alias="KEY_KEK_FILE", description="the key-encryption key itself", repr=False
    )
    passphrase: PassphraseText | None = Field(
        None, validation_alias="KEY_PASSPHRASE", description="instead of `KEY_PASSPHRASE_FILE`", repr=False
    )
    kek: KekText | None = Field(None, validation_alias="KEY_KEK", description="instead of `KEY_KEK_FILE`", repr=False)

    def secrets(self) -> list[Secret]:
        every = (self.passphrase_file, self.kek_file, self.passphrase, self.kek)
        return [secret for secret in every if secret is not None]

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.secrets()) != 1:
            raise ValueError(_ONE_OF.format(self.prefix))
        return self


class PreviousKekSettings(KekSettings):
    """The secret before a change of secrets: at most one of four."""

    prefix: ClassVar = "KEY_PREVIOUS_"
    passphrase_file: PassphraseFile | None = Field(
        None,
        validation_alias="KEY_PREVIOUS_PASSPHRASE_FILE",
        description="the previous passphrase, while secrets change",
        repr=False,
    )
    kek_file: KekFile | None = Field(
        None,
        validation_alias="KEY_PREVIOUS_KEK_FILE",
        description="the previous key, while secrets change",
        repr=False,
    )
    passphrase: PassphraseText | None = Field(
        None,
        validation_alias="KEY_PREVIOUS_PASSPHRASE",
        description="instead of `KEY_PREVIOUS_PASSPHRASE_FILE`",
        repr=False,
    )
    kek: KekText | None = Field(
        None, validation_alias="KEY_PREVIOUS_KEK", description="instead of `KEY_PREVIOUS_KEK_FILE`", repr=False
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.secrets()) > 1:
            raise ValueError(_ONE_OF.format(self.prefix))
        return self


class KeySettings(ServiceSettings):
    """Settings of the key service."""

    kek: KekSettings = Field(repr=False)
    previous_kek: PreviousKekSettings = Field(default_factory=PreviousKekSettings, repr=False)
    ml_dsa: Switch = Field(default=False, validation_alias="ENABLE_ML_DSA", description="allows ML-DSA-65 keys")

    @property
    def secret(self) -> Secret:
        return self.kek.secrets()[0]

    @property
    def previous_secret(self) -> Secret | None:
        """The secret before a change of secrets; None if there is no change."""
        return next(iter(self.previous_kek.secrets()), None)
