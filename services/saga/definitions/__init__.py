"""Every saga that the coordinator knows: whatever the modules of this package define. A new saga is a new module."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from services.saga.core.definition import AnyDefinition, Definition


def _found() -> Iterator[AnyDefinition]:
    for name in sorted(module.name for module in iter_modules(__path__, f"{__name__}.")):
        yield from (found for found in vars(import_module(name)).values() if isinstance(found, Definition))


DEFINITIONS: tuple[AnyDefinition, ...] = tuple({id(found): found for found in _found()}.values())
