"""Changes modules of a process as they are imported, for a ``sitecustomize`` on its path."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Patch = Callable[[ModuleType], None]


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self._patches = dict(patches)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        patch = self._patches.pop(name, None)
        spec = None if patch is None else importlib.machinery.PathFinder.find_spec(name, path, target)
        if patch is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def patched(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = patched
        return spec


def change_on_import(patches: Mapping[str, Patch]) -> None:
    """Call a function with each of the named modules once it is imported."""
    sys.meta_path.insert(0, _Finder(patches))
