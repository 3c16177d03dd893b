"""Makes modules fail to load, as on a machine that lacks them or a library of the system that they need."""

import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Literal

How = Literal["missing", "broken", "os_error"]


class Hidden(MetaPathFinder):
    """Finds the modules before Python does."""

    def __init__(self, names: Sequence[str], how: How) -> None:
        self._names, self._how = names, how
        self._library = Path(tempfile.mkdtemp(), "broken.so")
        self._library.write_bytes(b"\x7fELF")

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        if self._how == "missing":
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        if self._how == "os_error":
            raise OSError(f"libX.so.1: cannot open shared object file ({fullname})")
        # The dynamic loader itself refuses the file.
        loader = ExtensionFileLoader(fullname, str(self._library))
        return spec_from_file_location(fullname, self._library, loader=loader)


def hide(*names: str, how: How) -> None:
    """Hide modules from now on; those that are loaded stay."""
    sys.meta_path.insert(0, Hidden(names, how))
