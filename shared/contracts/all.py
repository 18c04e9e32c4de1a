"""Every message of the suite by its name: for those who read what anybody may have written."""

from __future__ import annotations

from typing import get_args

from shared.contracts.base import Message
from shared.contracts.certificate import CertificateCommand
from shared.contracts.certificate_events import CertificateEvent
from shared.contracts.command import CommandOutcome
from shared.contracts.key import KeyCommand
from shared.contracts.key_events import KeyEvent
from shared.contracts.nats_jwt import NatsJwtCommand, NatsJwtEvent
from shared.contracts.ocsp import OcspCommand, OcspEvent
from shared.contracts.prompt import PromptCommand, PromptEvent
from shared.contracts.sagas import SagaCommand, SagaEvent
from shared.contracts.ssh_certificate import SshCertificateCommand, SshCertificateEvent
from shared.contracts.trust_bundle import TrustBundleCommand, TrustBundleEvent
from shared.contracts.yubikey import YubiKeyCommand, YubiKeyEvent
from shared.contracts.yubikey_devices import (
    DeviceCommand,
    DeviceEvent,
)
from shared.contracts.yubikey_lifecycle import (
    LifecycleCommand,
    LifecycleEvent,
)
from shared.contracts.yubikey_presence import PresenceCommand, PresenceEvent
from shared.contracts.yubikey_secrets import SecretCommand, SecretEvent
from shared.contracts.yubikey_use import UseCommand, UseEvent

_LANGUAGES = (
    KeyCommand,
    KeyEvent,
    CertificateCommand,
    CertificateEvent,
    NatsJwtCommand,
    NatsJwtEvent,
    OcspCommand,
    OcspEvent,
    SshCertificateCommand,
    SshCertificateEvent,
    TrustBundleCommand,
    TrustBundleEvent,
    YubiKeyCommand,
    YubiKeyEvent,
    PresenceCommand,
    PresenceEvent,
    LifecycleCommand,
    LifecycleEvent,
    DeviceCommand,
    DeviceEvent,
    SecretCommand,
    SecretEvent,
    UseCommand,
    UseEvent,
    PromptCommand,
    PromptEvent,
    SagaCommand,
    SagaEvent,
    CommandOutcome,
)
MESSAGES: dict[str, type[Message]] = {
    message.__name__: message for language in _LANGUAGES for message in get_args(language) or (language,)
}
