"""Definition files: header, sections and build arguments."""

import re
from dataclasses import dataclass, field

from .reporting import fatal


@dataclass
class Definition:
    """A definition file, its arguments filled in."""

    text: str = ""
    header: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)


def parse(text: str, given: dict[str, str]) -> Definition:
    """Read a definition; arguments that are given go before those of its ``%arguments``."""
    head, *rest = re.split(r"(?m)^%(\w+)[^\n]*\n", text)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    arguments = {}
    for line in sections.pop("arguments", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals:
            arguments[name] = value.strip("'\"")
    arguments |= given

    def fill(part: str) -> str:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: arguments.get(found[1]) or _undefined(found[1]), part)

    header = {}
    for line in head.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            header[key.strip().lower()] = fill(value.strip())
    return Definition(text, header, {name: fill(section) for name, section in sections.items()})


def _undefined(name: str) -> str:
    fatal(f"build var {name} is not defined through either --build-arg (--build-arg-file) or 'arguments' section")
