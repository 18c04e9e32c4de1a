"""Settings of the repository."""

from pydantic import Field

from shared.process.settings import Host, Port, ServiceSettings


class RepositorySettings(ServiceSettings):
    """Settings of the repository."""

    host: Host = Field("127.0.0.1", validation_alias="HTTP_HOST", description="the address that serves documents")
    port: Port = Field(8080, validation_alias="HTTP_PORT", description="the port that serves documents")
