"""Compilation of the numerical kernels, and where the machine code is kept.

Kernels have fixed signatures and are compiled when their module is first imported; the machine code
is kept on disk, so that only the first process pays for it (about half a minute). It is looked for,
and kept, in ``NUMBA_CACHE_DIR``, else the package's own ``__pycache__``, else the user's cache
directory (as numba does), else a private directory below the system's temporary one; where none of
them can be written, a process compiles for itself alone. A read-only installation, such as a
container image, is also read from its ``__pycache__``, if that was filled while it was built::

    python -m periogt_ray.polymer.descriptors

The code is for every x86-64 processor with AVX2 (level 3, Haswell and Zen and later), so that the nodes of a cluster
share an installation's; it is as fast as for the processor at hand. An older processor, or ``NUMBA_CPU_NAME``, has code
of its own.
"""

import importlib
import logging
import os
import stat
import tempfile
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numba

__all__ = ["KernelFacts", "kernel", "kernel_facts"]

logger = logging.getLogger(__name__)

# Partly typed, or not at all, which strict type checking cannot use.
caching: Any = importlib.import_module("numba.core.caching")
config: Any = numba.config
binding: Any = importlib.import_module("llvmlite.binding")

_LEVEL_3 = "x86-64-v3"
_FEATURES_OF_LEVEL_3 = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")


@dataclass(frozen=True)
class KernelFacts:
    """Where the machine code of this process came from.

    Attributes
    ----------
    n_loaded, n_compiled : int
        Kernels whose machine code was on disk for this processor, and those that were compiled.
    directory : str or None
        Where what is compiled is kept; None: nowhere.
    """

    n_loaded: int
    n_compiled: int
    directory: str | None


def _choose_target() -> None:
    """Let numba compile for level 3, unless the user chose otherwise; it notes the target beside the code."""
    features = binding.get_host_cpu_features()
    is_chosen = config.CPU_NAME is not None or config.CPU_FEATURES is not None
    if not is_chosen and all(features.get(name) for name in _FEATURES_OF_LEVEL_3):
        config.CPU_NAME, config.CPU_FEATURES = _LEVEL_3, ""


_choose_target()


class _ReadOnlyLocator(caching.InTreeCacheLocator):
    """The package's own ``__pycache__``, without numba's demand that it can be written."""

    def ensure_cache_path(self) -> None:
        if not Path(self.get_cache_path()).is_dir():
            raise FileNotFoundError(self.get_cache_path())


class _TemporaryLocator(caching.UserWideCacheLocator):
    """A private directory of this user in the system's temporary directory."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        directory = Path(tempfile.gettempdir()) / f"periogt-kernels-{os.getuid()}"
        self._cache_path = str(directory / self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self) -> None:
        directory = Path(self._cache_path).parent
        directory.mkdir(mode=0o700, exist_ok=True)
        # Machine code is loaded from here: nobody else may be able to put it there.
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{directory} does not belong only to this user")
        super().ensure_cache_path()

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_TemporaryLocator | None":
        try:
            locator = cls(py_func, py_file)
            locator.ensure_cache_path()
        except OSError:  # among them that there is no temporary directory at all
            return None
        return locator


class _UserLocator(caching.UserWideCacheLocator):
    """The user's cache directory; nothing where the user has no home, for which numba would take ``./~``."""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_UserLocator | None":
        if not Path(cls(py_func, py_file).get_cache_path()).is_absolute():
            return None
        locator: _UserLocator | None = super().from_function(py_func, py_file)
        return locator


class _ShippedImpl(caching.CompileResultCacheImpl):
    _locator_classes: tuple[Any, ...] = (_ReadOnlyLocator,)


class _ShippedCache(caching.FunctionCache):
    """Machine code that the package was shipped with, which is never added to."""

    _impl_class = _ShippedImpl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep nothing."""


class _KernelImpl(caching.CompileResultCacheImpl):
    _locator_classes: tuple[Any, ...] = (
        caching.UserProvidedCacheLocator,
        caching.InTreeCacheLocator,
        _UserLocator,
        _TemporaryLocator,
    )


class _KernelCache(caching.FunctionCache):
    """Machine code that can be written, backed by what the package was shipped with."""

    _impl_class = _KernelImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is not None:
            return found
        try:
            shipped = _ShippedCache(self._py_func)
        except RuntimeError:  # no __pycache__ beside the module
            found = None
        else:
            found = shipped.load_overload(sig, target_context)
        if found is None:
            _say_that_kernels_are_compiled()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # a full disk: this process has its kernel, only the next one gains nothing
            return


@cache
def _say_that_kernels_are_compiled() -> None:
    """Tell, once in a process: else the first prediction after an installation seems to hang."""
    logger.warning("Compiling the numerical kernels for this processor, once after an installation: about a minute.")


def kernel(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for one signature, or load its machine code.

    Parameters
    ----------
    signature : str
        In numba's notation, such as ``"int32[:,::1](int32[::1], int32[::1])"``.

    Returns
    -------
    Callable
        A decorator.
    """

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
        dispatcher._cache = _cache_of(function)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        compiled: Callable[..., Any] = dispatcher
        return compiled

    return compile_function


def kernel_facts(modules: Iterable[types.ModuleType]) -> KernelFacts:
    """Return where the kernels of modules that are imported came from."""
    found = {id(value): value for module in modules for value in vars(module).values() if _is_kernel(value)}
    # A kernel that only others call is loaded with them, and has no count of its own.
    stats = [dispatcher.stats for dispatcher in found.values()]
    directories = {one.cache_path for one in stats if one.cache_misses}
    return KernelFacts(
        n_loaded=sum(bool(one.cache_hits) and not one.cache_misses for one in stats),
        n_compiled=sum(bool(one.cache_misses) for one in stats),
        directory=None if None in directories else next(iter(directories), None),
    )


def _is_kernel(value: Any) -> bool:
    return isinstance(getattr(value, "_cache", None), caching.FunctionCache | caching.NullCache)


def _cache_of(function: Callable[..., Any]) -> Any:
    """Return the cache of a kernel: one that can be written, else what was shipped, else none."""
    for kind in (_KernelCache, _ShippedCache):
        try:
            return kind(function)
        except RuntimeError:  # no such place
            continue
    return caching.NullCache()
