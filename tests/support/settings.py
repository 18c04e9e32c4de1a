"""Settings of the services on a test's server."""

from services.certificate.settings import CertificateSettings
from services.key.settings import KekSettings, KeySettings, PreviousKekSettings
from services.saga.settings import SagaSettings
from services.yubikey.settings import YubikeySettings
from shared.process.settings import NatsSettings


def key_settings(url, *, previous=None, **secret):
    """*secret*: one argument of `KekSettings`; *previous*: one of `PreviousKekSettings`, in a dictionary."""
    kek, previous_kek = KekSettings(**secret), PreviousKekSettings(**previous or {})
    return KeySettings(nats=NatsSettings(url=url), kek=kek, previous_kek=previous_kek)


def certificate_settings(url):
    return CertificateSettings(nats=NatsSettings(url=url))


def saga_settings(url):
    return SagaSettings(nats=NatsSettings(url=url))


def yubikey_settings(url, state_directory, secret, **more):
    return YubikeySettings(nats=NatsSettings(url=url), state_directory=state_directory, secret=secret, **more)
