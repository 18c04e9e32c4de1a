"""``make render``: docs/settings.md, every setting of every process, from their classes of settings."""

from __future__ import annotations

import importlib
from pathlib import Path

from pydantic_core import PydanticUndefined

from shared.process.settings import ServiceSettings, SettingsGroup, Variable, variables_of

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
PROCESSES = {
    "services.key": "Key service",
    "services.certificate": "Certificate service",
    "services.yubikey": "YubiKey service",
    "services.saga": "Saga coordinator",
    "services.repository": "Repository",
    "services.console": "Console (`cim-keys`)",
    "deploy.up": "`make up`",
    "deploy.declare": "`python -m deploy.declare` and `python -m deploy.backup`",
}
HEADER = """# Settings

Every process reads its settings once, from its environment. An empty variable counts as unset unless its row says more.
If settings are wrong, the process names all of them, one a line, and exits with status 78. It takes secrets out of its
environment and never shows them ([ADR 0010](adr/0010-key-encryption-keys.md)).

`make render` writes this page from the classes of settings.
"""
OTEL = """The OpenTelemetry SDK reads further variables by itself: see
[its specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""
_COLUMNS = "| setting | must be | default | meaning |\n|---|---|---|---|\n"


def settings_of(process: str) -> type[SettingsGroup]:
    """Returns the class of settings of a package or module. By name: nothing here may depend on a service."""
    module = importlib.import_module(process if process.startswith("deploy.") else f"{process}.settings")
    name = f"{process.rpartition('.')[2].capitalize()}Settings"
    kind: type[SettingsGroup] = getattr(module, name)
    return kind


def page() -> str:
    common = list(variables_of(ServiceSettings))
    parts = [HEADER, f"## Every service\n\n{_table(common)}", OTEL]
    for process, title in PROCESSES.items():
        kind = settings_of(process)
        own = [each for each in variables_of(kind) if not any(each.field is known.field for known in common)]
        parts += [f"## {title}\n", _table(own) if own else "Only those of every service.\n"]
        if "nats" in kind.model_fields and not issubclass(kind, ServiceSettings):
            parts.append("It also has the settings of every service that begin with `NATS_`.\n")
    return "\n".join(parts)


def _table(variables: list[Variable]) -> str:
    return _COLUMNS + "".join(map(_row, variables))


def _row(variable: Variable) -> str:
    field = variable.field
    secret = " (secret)" if variable.accepts.secret else ""
    return f"| `{variable.name}` | {variable.accepts.values}{secret} | {_default(variable)} | {field.description} |\n"


def _default(variable: Variable) -> str:
    field, default = variable.field, variable.field.default
    if field.is_required():
        return "required"
    if default in (None, ()) or default is PydanticUndefined or isinstance(default, bytes):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def main() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
