"""Compilation of the numerical kernels, and where the machine code is kept.

Kernels have fixed signatures and are compiled when their module is first imported; the machine code
is kept on disk, so that only the first process pays for it (about half a minute). It is looked for,
and kept, in ``NUMBA_CACHE_DIR``, else the package's own ``__pycache__``, else the user's cache
directory (as numba does), else a private directory below the system's temporary one; where none of
them can be written, a process compiles for itself alone. A read-only installation, such as a
container image, is also read from its ``__pycache__``, if that was filled while it was built::

    python -m periogt_ray.polymer.descriptors

A wheel brings machine code in directories ``machine_code`` beside the modules (``scripts/wheel``). It serves the
Python and the numba with which it was made; numba compares the sources by their content.

The code is for every x86-64 processor with AVX2 (level 3, Haswell and Zen and later), so that the nodes of a cluster
share an installation's; it is as fast as for the processor at hand. An older processor, or ``NUMBA_CPU_NAME``, has code
of its own.
"""

import importlib
import logging
import os
import shutil
import stat
import tempfile
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numba

__all__ = ["KernelFacts", "kernel", "kernel_facts", "kernel_part", "ship_kernels"]

logger = logging.getLogger(__name__)

# Partly typed, or not at all, which strict type checking cannot use.
caching: Any = importlib.import_module("numba.core.caching")
config: Any = numba.config
binding: Any = importlib.import_module("llvmlite.binding")

_SHIPPED_NAME = "machine_code"
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


class _WheelLocator(_ReadOnlyLocator):
    """What a wheel brought."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(Path(py_file).parent / _SHIPPED_NAME)


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


def _cache_class(name: str, *locators: type) -> type[Any]:
    """Return a class of numba's caches that looks in the first of some places that it can use."""
    implementation = type(f"{name}Impl", (caching.CompileResultCacheImpl,), {"_locator_classes": locators})
    return type(name, (caching.FunctionCache,), {"_impl_class": implementation})


_WritableCache = _cache_class(
    "_WritableCache",
    *(caching.UserProvidedCacheLocator, caching.InTreeCacheLocator, _UserLocator, _TemporaryLocator),
)
_WheelCache = _cache_class("_WheelCache", _WheelLocator)
_BuiltCache = _cache_class("_BuiltCache", _ReadOnlyLocator)


class _KernelCache(caching.NullCache):
    """Machine code of a kernel: in a place that can be written, or shipped with the package."""

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self._signature = signature
        self._writable = _made(_WritableCache, function)
        shipped = (_made(kind, function) for kind in (_WheelCache, _BuiltCache))
        self._places = [place for place in (self._writable, *shipped) if place is not None]

    @property
    def cache_path(self) -> str | None:
        return None if self._writable is None else self._writable.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for place in self._places:
            found = place.load_overload(sig, target_context)
            if found is not None:
                return found
        _say_that_kernels_are_compiled()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if self._writable is not None:
            with suppress(OSError):  # a full disk: this process has its kernel, only the next one gains nothing
                self._writable.save_overload(sig, data)

    def entry(self, target_context: Any) -> tuple[Any, Any]:
        """Return key and content under which the machine code is kept; LookupError if it is nowhere."""
        for place in self._places:
            key = place._index_key(self._signature, target_context.codegen())
            content = place._cache_file.load(key)
            if content is not None:
                return key, content
        raise LookupError("The machine code of a kernel is kept nowhere; is the disk full?")


def _made(kind: type[Any], function: Callable[..., Any]) -> Any:
    try:
        return kind(function)
    except RuntimeError:  # no such place
        return None


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
        dispatcher._cache = _KernelCache(function, signature)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        compiled: Callable[..., Any] = dispatcher
        return compiled

    return compile_function


def kernel_part(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function that kernels call, and nobody else.

    Its machine code is in that of the kernels. It is compiled when one of them is, so a process that loads them does
    without it.

    Parameters
    ----------
    signature : str
        As of :func:`kernel`.

    Returns
    -------
    Callable
        A decorator.
    """

    def declare_function(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
        template_for = dispatcher.get_call_template

        def get_call_template(*given: Any) -> Any:
            """Do what numba asks for while it compiles a caller, but only for the declared types."""
            if not dispatcher.overloads:
                dispatcher.compile(signature)
                dispatcher.disable_compile()
            return template_for(*given)

        dispatcher.get_call_template = get_call_template
        declared: Callable[..., Any] = dispatcher
        return declared

    return declare_function


def kernel_facts(modules: Iterable[types.ModuleType]) -> KernelFacts:
    """Return where the kernels of modules that are imported came from."""
    found = {id(value): value for module in modules for value in vars(module).values() if _is_kernel(value)}
    stats = [dispatcher.stats for dispatcher in found.values()]
    directories = {one.cache_path for one in stats if one.cache_misses}
    return KernelFacts(
        n_loaded=sum(bool(one.cache_hits) and not one.cache_misses for one in stats),
        n_compiled=sum(bool(one.cache_misses) for one in stats),
        directory=None if None in directories else next(iter(directories), None),
    )


def ship_kernels(modules: Iterable[types.ModuleType]) -> int:
    """Copy machine code for this kind of processor to where a wheel takes it from, in place of what is there.

    Parameters
    ----------
    modules : iterable of module
        Their own kernels are copied, not those that they import.

    Returns
    -------
    int
        Number of kernels.

    Raises
    ------
    LookupError
        If the machine code of a kernel is kept nowhere.
    """
    own = [
        value
        for module in modules
        for value in vars(module).values()
        if _is_kernel(value) and value.py_func.__module__ == module.__name__
    ]
    entries = [one._cache.entry(one.targetctx) for one in own]
    for directory in {Path(one.py_func.__code__.co_filename).parent / _SHIPPED_NAME for one in own}:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    for one, (key, content) in zip(own, entries, strict=True):
        _WheelCache(one.py_func)._cache_file.save(key, content)
    return len(own)


def _is_kernel(value: Any) -> bool:
    return isinstance(getattr(value, "_cache", None), _KernelCache)
