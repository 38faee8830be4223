"""Names of a package that are imported when they are first used, so that importing the package costs nothing.

A package's `__init__` says where its names are and hands out what PEP 562 asks for; under `TYPE_CHECKING` it imports
the same names, for those who read code without running it.

    __getattr__, __dir__ = names_on_demand(__name__, {".fitting": ("fit", "History"), ".options": ("Options",)})
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["names_on_demand"]


def names_on_demand(
    package: str, places: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions `__getattr__` and `__dir__` of a package.

    A name may be that of the submodule it is in (``run`` in ``pipeline.run``): `from package import run` is then the
    function, no matter which of the two was imported first.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    places : mapping of str to iterable of str
        Names by module, written as `importlib.import_module` reads it: ``".run"`` is in the package.

    Returns
    -------
    tuple of two callables

    Examples
    --------
    >>> import eigenfolio.pipeline
    >>> "RunOptions" in dir(eigenfolio.pipeline)
    True
    """
    module = sys.modules[package]
    homes = {name: home for home, names in places.items() for name in names}

    class Package(ModuleType):
        """Keeps a name of the package when the import system sets a submodule of that name."""

        def __setattr__(self, name: str, value: object) -> None:
            if not (name in homes and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            home = import_module(homes[name], package)
        except AttributeError as error:  # as it is, it would read as if the name were not there
            raise ImportError(f"{package}.{name} cannot be imported: {error}") from error
        value = getattr(home, name)
        setattr(module, name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(module), *homes})

    module.__class__ = Package
    return __getattr__, __dir__
