"""The report of a batch: one HTML file that holds everything it shows, in the style of the page."""

from collections.abc import Iterable, Mapping
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
from periogt_ray.runtime.files import write_bytes_atomically
from periogt_ray.schemas import ModelResponse
from periogt_ray.tables.html import Drawings, html_document, html_table, html_text, without_drawings

__all__ = ["render_report", "write_report"]


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
    name = escape(Path(summary["input"]).name)
    drawings = Drawings()
    labels = {card.id: card.label for card in model.properties}
    properties = (
        _property(labels.get(property_id, property_id), of_property, drawings)
        for property_id, of_property in figures.properties.items()
    )
    main = f"""<h1>Batch report</h1>
<p class="lead">{name}, answered by {escape(model.artifacts)}. {escape(model.description)}</p>
{_counts(figures, summary)}
{without_drawings()}
{_failures(figures)}
{_warnings(figures)}
{"".join(properties)}
{_run(summary)}
{_card(model)}"""
    return html_document(f"{Path(summary['input']).name}: PerioGT batch report", main)


def _counts(figures: OutputFigures, summary: Mapping[str, Any]) -> str:
    n_failed = sum(figures.failures.values())
    counts = [
        (summary["n_input_rows"], "rows in the input", ""),
        (figures.n_rows - n_failed, "predictions", ""),
        (n_failed, "failed", ' class="bad"' if n_failed else ""),
    ]
    if summary.get("n_warned"):
        counts.append((summary["n_warned"], "rows with warnings", ""))
    outside = (("outside", "values outside the domain"), ("far_outside", "values far outside the domain"))
    counts += [(figures.domains[status], what, "") for status, what in outside if status in figures.domains]
    items = (f"<li{kind}><strong>{count:,}</strong> {what}</li>" for count, what, kind in counts)
    return f'<ul class="figures">{"".join(items)}</ul>'


def _failures(figures: OutputFigures) -> str:
    if not figures.failures:
        return ""
    rows = []
    for code, n in sorted(figures.failures.items(), key=lambda item: -item[1]):
        example = figures.examples[code]
        cells = (f"<code>{html_text(code)}</code>", f"{n:,}", f"{html_text(example.id)}: {html_text(example.message)}")
        rows.append(cells)
    return (
        f"<h2>Failures</h2>{html_table('Failures', ('Code', 'Predictions', 'For example'), rows, number_columns=(1,))}"
    )


def _warnings(figures: OutputFigures) -> str:
    if not figures.warnings:
        return ""
    most_first = sorted(figures.warnings.items(), key=lambda item: -item[1])
    rows = [(html_text(warning), f"{n:,}") for warning, n in most_first]
    return f"<h2>Warnings</h2>{html_table('Warnings', ('Warning', 'Rows'), rows, number_columns=(1,))}"


def _property(label: str, figures: PropertyFigures, drawings: Drawings) -> str:
    units = f" {html_text(figures.units)}" if figures.units else ""
    if not figures.n:
        return (
            f'<section class="card property"><h2>{html_text(label)}</h2><p class="hint">No predictions.</p></section>'
        )
    facts = (
        f"{figures.n:,} values, mean {figures.mean:.4g}, standard deviation {figures.std:.4g}, "
        f"from {figures.low:.4g} to {figures.high:.4g}{units}"
    )
    return f"""<section class="card property"><h2>{html_text(label)}</h2><div class="property-grid">
<div><p class="hint">{facts}</p>{_histogram(figures, f"Histogram of {label}: {figures.n} values")}</div>
<div><h3>Lowest</h3>{_ranked(figures.lowest, units, drawings)}</div>
<div><h3>Highest</h3>{_ranked(figures.highest, units, drawings)}</div>
</div></section>"""


def _ranked(ranked: Iterable[Ranked], units: str, drawings: Drawings) -> str:
    items = (
        f"<li>{drawings.tile(*_repeat_units(one.smiles))}<div><strong>{one.value:.4g}</strong>"
        f'<span class="units">{units}</span><br>{html_text(one.id)}'
        f'<span class="mono">{html_text(one.smiles)}</span></div></li>'
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
aria-label="{html_text(title)}, {most} at most in a bin">{"".join(bars)}</svg>
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
    items = (f"<dt>{name}</dt><dd>{html_text(value)}</dd>" for name, value in facts.items())
    return f'<h2>Settings</h2><div class="card"><dl>{"".join(items)}</dl></div>'


def _card(model: ModelResponse) -> str:
    rows = []
    for card in model.properties:
        test = card.test
        known = (f"{test.r2:.3f}", f"{test.rmse:.3g}", str(test.n)) if test is not None else ("not known",) * 3
        rows.append((html_text(card.label), html_text(card.units or "none"), *known))
    limits = "".join(f"<li>{html_text(limit)}</li>" for limit in model.limits)
    table = html_table(
        "Accuracy", ("Property", "Unit", "Test R²", "Test RMSE", "Test rows"), rows, number_columns=(2, 3, 4)
    )
    return f"<h2>The model</h2>{table}" + (f"<h3>Limits of use</h3><ul>{limits}</ul>" if limits else "")


def _repeat_units(cells: str) -> list[str]:
    """Return those cells of an input that are drawn: of a copolymer both monomers, not ratios or conditions."""
    return [cell for cell in cells.split(CELL_SEPARATOR) if "*" in cell]
