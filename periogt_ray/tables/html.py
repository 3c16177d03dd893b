"""Self-contained HTML files: style, tables and structures; every value from outside is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from periogt_ray.errors import DrawingUnavailableError, ValidationError
from periogt_ray.polymer.drawing import draw, drawing_problem
from periogt_ray.polymer.repeat_unit import RepeatUnit

__all__ = ["Drawings", "html_document", "html_table", "html_text", "without_drawings"]

_WEB = Path(__file__).parents[1] / "web"
_MAX_DRAWN_BYTES = 3 << 20  # keeps the file below 5 MB, whatever is drawn
_LONGEST_TEXT = 300
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_document(title: str, main: str) -> str:
    """Return a document in the style of the page.

    Parameters
    ----------
    title : str
        Text.
    main : str
        Markup.
    """
    style = "".join((_WEB / name).read_text(encoding="utf-8") for name in ("base.css", "report.css"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><meta name="color-scheme" content="light dark">
<title>{escape(title)}</title><style>{style}</style></head><body><main>
{main}
</main></body></html>
"""


class Drawings:
    """Draws structures until the report has its largest size."""

    def __init__(self) -> None:
        self._n_bytes = 0

    def tile(self, *smiles: str) -> str:
        """Return the structures of a polymer's repeat units, or why there are none, as markup."""
        if self._n_bytes >= _MAX_DRAWN_BYTES:
            return '<div class="tile">not drawn, to keep this file small</div>'
        try:
            drawing = "".join(draw(RepeatUnit.parse(one)) for one in smiles)
        except ValidationError:
            return '<div class="tile">too large to be drawn</div>'
        except DrawingUnavailableError:
            return '<div class="tile">not drawn</div>'
        self._n_bytes += len(drawing)
        return f'<div class="tile">{drawing}</div>'


def without_drawings() -> str:
    """Say why no structures are shown, if there are none."""
    if (problem := drawing_problem()) is None:
        return ""
    return f'<p class="hint">No structures are shown. {html_text(problem)}</p>'


def html_table(
    name: str, titles: Sequence[str], rows: Iterable[Iterable[str]], *, number_columns: tuple[int, ...]
) -> str:
    """Return a table; cells are markup, those of the columns in ``number_columns`` numbers."""

    def line(tag: str, cells: Iterable[str]) -> str:
        kinds = (' class="num"' if i in number_columns else "" for i, _ in enumerate(titles))
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(line("td", row) for row in rows)
    head = line("th", titles)
    # It takes the focus, so that the arrow keys move what is wider than a small screen.
    around = f'<div class="card scroll-x" role="region" tabindex="0" aria-label="{name}">'
    return f"{around}<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def html_text(value: object) -> str:
    """Escape a value, and shorten it where a cell of the input is very long."""
    text = str(value)
    return escape(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…")
