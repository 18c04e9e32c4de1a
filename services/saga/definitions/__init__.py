"""Definitions of all sagas: a module for each. The coordinator finds every definition in this package."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from services.saga.core.definition import AnyDefinition, Definition


def _find_definitions() -> Iterator[AnyDefinition]:
    for name in sorted(module.name for module in iter_modules(__path__, f"{__name__}.")):
        yield from (value for value in vars(import_module(name)).values() if isinstance(value, Definition))


DEFINITIONS: tuple[AnyDefinition, ...] = tuple(
    {id(definition): definition for definition in _find_definitions()}.values()
)
