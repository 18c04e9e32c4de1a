"""All message classes of the suite by name, for readers that must decode any message."""

from __future__ import annotations

from typing import get_args

from shared.contracts.base import Message
from shared.contracts.certificate.commands import CertificateCommand
from shared.contracts.certificate.events import CertificateEvent
from shared.contracts.certificate.nats_jwt import NatsJwtCommand, NatsJwtEvent
from shared.contracts.certificate.ocsp import OcspCommand, OcspEvent
from shared.contracts.certificate.ssh import SshCertificateCommand, SshCertificateEvent
from shared.contracts.certificate.trust_bundle import TrustBundleCommand, TrustBundleEvent
from shared.contracts.key.commands import KeyCommand
from shared.contracts.key.events import KeyEvent
from shared.contracts.rejection import CommandOutcome
from shared.contracts.saga.certificates import SagaCommand, SagaEvent
from shared.contracts.yubikey.devices import (
    DeviceCommand,
    DeviceEvent,
)
from shared.contracts.yubikey.lifecycle import (
    LifecycleCommand,
    LifecycleEvent,
)
from shared.contracts.yubikey.presence import PresenceCommand, PresenceEvent
from shared.contracts.yubikey.prompts import PromptCommand, PromptEvent
from shared.contracts.yubikey.secrets import SecretCommand, SecretEvent
from shared.contracts.yubikey.slot_operations import SlotOperationCommand, SlotOperationEvent
from shared.contracts.yubikey.slots import YubiKeyCommand, YubiKeyEvent

_MESSAGE_UNIONS = (
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
    SlotOperationCommand,
    SlotOperationEvent,
    PromptCommand,
    PromptEvent,
    SagaCommand,
    SagaEvent,
    CommandOutcome,
)
MESSAGES: dict[str, type[Message]] = {
    message.__name__: message for union in _MESSAGE_UNIONS for message in get_args(union) or (union,)
}
