"""The report of a batch: one HTML file that holds everything it shows, in the style of the page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from periogt_ray.artifacts.card import read_card
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.report_figures import (
    CELL_SEPARATOR,
    N_BINS,
    OutputFigures,
    PropertyFigures,
    Ranked,
    gather_figures,
)
from periogt_ray.errors import DrawingUnavailableError, ValidationError
from periogt_ray.polymer.drawing import draw, drawing_problem
from periogt_ray.polymer.repeat_unit import RepeatUnit
from periogt_ray.runtime.files import write_bytes_atomically
from periogt_ray.schemas import ModelResponse

__all__ = ["render_report", "write_report"]

_WEB = Path(__file__).parents[1] / "web"
_MAX_DRAWN_BYTES = 3 << 20  # keeps the file below 5 MB, whatever is drawn
_LONGEST_TEXT = 300
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_report(path: Path, output: Path, *, summary: Mapping[str, Any], artifacts: ArtifactDirectory) -> None:
    """Write the report of a batch; its name appears when it is whole.

    Parameters
    ----------
    path : pathlib.Path
        Where the report goes.
    output : pathlib.Path
        The finished output.
    summary : Mapping
        The document beside the output.
    artifacts : ArtifactDirectory
        What answered.
    """
    figures = gather_figures(output, {info.id: info.units for info in artifacts.properties.values()})
    write_bytes_atomically(path, render_report(figures, summary, model=read_card(artifacts)).encode())


def render_report(figures: OutputFigures, summary: Mapping[str, Any], *, model: ModelResponse) -> str:
    """Return the report; every value that came from outside is escaped."""
    style = "".join((_WEB / name).read_text(encoding="utf-8") for name in ("base.css", "report.css"))
    name = escape(Path(summary["input"]).name)
    drawings = _Drawings()
    labels = {card.id: card.label for card in model.properties}
    properties = (
        _property(labels.get(property_id, property_id), of_property, drawings)
        for property_id, of_property in figures.properties.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><meta name="color-scheme" content="light dark">
<title>{name}: PerioGT batch report</title><style>{style}</style></head><body><main>
<h1>Batch report</h1>
<p class="lead">{name}, answered by {escape(model.artifacts)}. {escape(model.description)}</p>
{_counts(figures, summary)}
{_without_drawings()}
{_failures(figures)}
{_warnings(figures)}
{"".join(properties)}
{_run(summary)}
{_card(model)}
</main></body></html>
"""


class _Drawings:
    """Draws until there is no room left in the report."""

    def __init__(self) -> None:
        self._n_bytes = 0

    def tile(self, smiles: str) -> str:
        if self._n_bytes >= _MAX_DRAWN_BYTES:
            return '<div class="tile">not drawn, to keep this file small</div>'
        try:
            # Of a copolymer both monomers; its other cells, and conditions, are no repeat units.
            drawing = "".join(draw(RepeatUnit.parse(cell)) for cell in smiles.split(CELL_SEPARATOR) if "*" in cell)
        except ValidationError:
            return '<div class="tile">too large to be drawn</div>'
        except DrawingUnavailableError:
            return '<div class="tile">not drawn</div>'
        self._n_bytes += len(drawing)
        return f'<div class="tile">{drawing}</div>'


def _without_drawings() -> str:
    """Say why no structure is shown, where that is so."""
    if (problem := drawing_problem()) is None:
        return ""
    return f'<p class="hint">No structures are shown. {_text(problem)}</p>'


def _counts(figures: OutputFigures, summary: Mapping[str, Any]) -> str:
    n_failed = sum(figures.failures.values())
    counts = [
        (summary["n_input_rows"], "rows in the input", ""),
        (figures.n_rows - n_failed, "predictions", ""),
        (n_failed, "failed", ' class="bad"' if n_failed else ""),
    ]
    if summary.get("n_warned"):
        counts.append((summary["n_warned"], "rows with warnings", ""))
    items = (f"<li{kind}><strong>{count:,}</strong> {what}</li>" for count, what, kind in counts)
    return f'<ul class="figures">{"".join(items)}</ul>'


def _failures(figures: OutputFigures) -> str:
    if not figures.failures:
        return ""
    rows = []
    for code, n in sorted(figures.failures.items(), key=lambda item: -item[1]):
        example = figures.examples[code]
        cells = (f"<code>{_text(code)}</code>", f"{n:,}", f"{_text(example.id)}: {_text(example.message)}")
        rows.append(cells)
    return f"<h2>Failures</h2>{_table('Failures', ('Code', 'Predictions', 'For example'), rows, number_columns=(1,))}"


def _warnings(figures: OutputFigures) -> str:
    if not figures.warnings:
        return ""
    most_first = sorted(figures.warnings.items(), key=lambda item: -item[1])
    rows = [(_text(warning), f"{n:,}") for warning, n in most_first]
    return f"<h2>Warnings</h2>{_table('Warnings', ('Warning', 'Rows'), rows, number_columns=(1,))}"


def _property(label: str, figures: PropertyFigures, drawings: _Drawings) -> str:
    units = f" {_text(figures.units)}" if figures.units else ""
    if not figures.n:
        return f'<section class="card property"><h2>{_text(label)}</h2><p class="hint">No predictions.</p></section>'
    facts = (
        f"{figures.n:,} values, mean {figures.mean:.4g}, standard deviation {figures.std:.4g}, "
        f"from {figures.low:.4g} to {figures.high:.4g}{units}"
    )
    return f"""<section class="card property"><h2>{_text(label)}</h2><div class="property-grid">
<div><p class="hint">{facts}</p>{_histogram(figures, f"Histogram of {label}: {figures.n} values")}</div>
<div><h3>Lowest</h3>{_ranked(figures.lowest, units, drawings)}</div>
<div><h3>Highest</h3>{_ranked(figures.highest, units, drawings)}</div>
</div></section>"""


def _ranked(ranked: Iterable[Ranked], units: str, drawings: _Drawings) -> str:
    items = (
        f"<li>{drawings.tile(one.smiles)}<div><strong>{one.value:.4g}</strong>"
        f'<span class="units">{units}</span><br>{_text(one.id)}<span class="mono">{_text(one.smiles)}</span></div></li>'
        for one in ranked
    )
    return f'<ol class="ranked">{"".join(items)}</ol>'


def _histogram(figures: PropertyFigures, title: str) -> str:
    most = max(figures.bins)
    bars = (
        f'<rect x="{i + 0.03}" y="{most - n}" width="0.94" height="{n}"><title>{n}</title></rect>'
        for i, n in enumerate(figures.bins)
        if n
    )
    middle = (figures.low + figures.high) / 2
    # Bars are stretched to the width of the page; numbers are not, so that they can be read on a small one.
    return f"""<svg class="histogram" viewBox="0 0 {N_BINS} {most}" preserveAspectRatio="none" role="img"
aria-label="{_text(title)}, {most} at most in a bin">{"".join(bars)}</svg>
<p class="scale"><span>{figures.low:.4g}</span><span>{middle:.4g}</span><span>{figures.high:.4g}</span></p>"""


def _run(summary: Mapping[str, Any]) -> str:
    basis = summary["basis"]
    facts = {
        "Input": Path(summary["input"]).name,
        "SHA-256 of the input": basis["input_sha256"],
        "Output": Path(summary["output"]).name,
        "Properties": ", ".join(basis["properties"]),
        "Digest of the artifacts": basis["artifacts"],
        "Device": summary.get("device", ""),
        "Descriptors": basis["descriptor_engine"],
        "Version": basis["version"],
        "Time": f"{summary['elapsed_s']:,.0f} s, {summary['rows_per_s']:.3g} rows a second",
    }
    items = (f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    return f'<h2>Settings</h2><div class="card"><dl>{"".join(items)}</dl></div>'


def _card(model: ModelResponse) -> str:
    rows = []
    for card in model.properties:
        test = card.test
        known = (f"{test.r2:.3f}", f"{test.rmse:.3g}", str(test.n)) if test is not None else ("not known",) * 3
        rows.append((_text(card.label), _text(card.units or "none"), *known))
    limits = "".join(f"<li>{_text(limit)}</li>" for limit in model.limits)
    table = _table(
        "Accuracy", ("Property", "Unit", "Test R²", "Test RMSE", "Test rows"), rows, number_columns=(2, 3, 4)
    )
    return f"<h2>The model</h2>{table}" + (f"<h3>Limits of use</h3><ul>{limits}</ul>" if limits else "")


def _table(name: str, titles: Sequence[str], rows: Iterable[Iterable[str]], *, number_columns: tuple[int, ...]) -> str:
    """Return a table; cells are markup, those of the columns in ``number_columns`` numbers."""

    def line(tag: str, cells: Iterable[str]) -> str:
        kinds = (' class="num"' if i in number_columns else "" for i, _ in enumerate(titles))
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(line("td", row) for row in rows)
    head = line("th", titles)
    # It takes the focus, so that the arrow keys move what is wider than a small screen.
    around = f'<div class="card scroll-x" role="region" tabindex="0" aria-label="{name}">'
    return f"{around}<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def _text(value: object) -> str:
    """Escape a value, and shorten it where a cell of the input is very long."""
    text = str(value)
    return escape(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…")
