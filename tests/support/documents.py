"""The documents as Markdown: their links, anchors and commands."""

import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from site_pages import PAGES  # noqa: E402 - what the site shows is what the tests read

DOCUMENTS = sorted(path for pattern in PAGES for path in ROOT.glob(pattern))

_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "<<<", "2>", "(", ")"})


@dataclass(frozen=True)
class Command:
    """Words of a shell command, and where they stand."""

    words: tuple[str, ...]
    document: str
    is_block: bool

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def prose_of(text: str) -> str:
    """Text without blocks of code and without code in lines."""
    return _INLINE_CODE.sub("", _FENCE.sub("", text))


def links_of(text: str) -> list[str]:
    """Targets of links and pictures."""
    return _LINK.findall(prose_of(text))


def anchors_of(text: str) -> set[str]:
    """Anchors of headings, as GitHub and mkdocs both make them."""
    return {_slug(heading) for heading in _HEADING.findall(_FENCE.sub("", text))}


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    kept = re.sub(r"[^\w\s-]", "", unicodedata.normalize("NFKD", plain)).strip().lower()
    return re.sub(r"\s", "-", kept)


def commands_of(path: Path) -> Iterator[Command]:
    """Every command of a document: lines of shell blocks, and code in lines that begins with the name of a program."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    for language, block in _FENCE.findall(text):
        if language in ("bash", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from (Command(words, name, is_block=True) for words in _split(line))
    for code in _INLINE_CODE.findall(_FENCE.sub("", text)):
        if "..." not in code:
            yield from (Command(words, name, is_block=False) for words in _split(code))


def _split(line: str) -> Iterator[tuple[str, ...]]:
    """Split a line of shell at its operators; a line that is no shell has no commands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    try:
        found = list(lexer)
    except ValueError:
        return
    for word in [*found, ";"]:
        if word not in _OPERATORS:
            words.append(word)
        elif words:
            yield tuple(words)
            words = []
