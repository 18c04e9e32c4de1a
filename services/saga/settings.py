"""Settings of the saga coordinator."""

from shared.process.settings import ServiceSettings


class SagaSettings(ServiceSettings):
    """Settings of the saga coordinator: those of every service."""
