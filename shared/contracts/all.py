"""Every message of the suite by its name: for those who read what anybody may have written."""

from __future__ import annotations

from typing import get_args

from shared.contracts.base import Message
from shared.contracts.certificate import CertificateCommand, CertificateEvent
from shared.contracts.command import CommandOutcome
from shared.contracts.key import KeyCommand, KeyEvent
from shared.contracts.saga import SagaCommand, SagaEvent
from shared.contracts.yubikey import YubiKeyCommand, YubiKeyEvent

_LANGUAGES = (
    KeyCommand,
    KeyEvent,
    CertificateCommand,
    CertificateEvent,
    YubiKeyCommand,
    YubiKeyEvent,
    SagaCommand,
    SagaEvent,
    CommandOutcome,
)
MESSAGES: dict[str, type[Message]] = {
    message.__name__: message for language in _LANGUAGES for message in get_args(language)
}
