"""Training where RDKit is not installed: features are read from a file, and the modules that compute them only load."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["allow_absence"]

_NAMES = ("rdkit", "numba")


class _Anything(type):
    """A class whose attributes are classes of the same kind, so that annotations and tables of names can be made."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __call__(cls, *_arguments: Any, **_options: Any) -> Any:
        return cls


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> Any:
        if fullname.partition(".")[0] in self._names:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, _module: ModuleType) -> None:
        pass


def allow_absence() -> None:
    """Let modules that import RDKit or numba load where those are absent; what calls them fails."""
    absent = [name for name in _NAMES if importlib.util.find_spec(name) is None]
    if absent:
        sys.meta_path.append(_Finder(absent))
