"""An evaluation as a table for a terminal and as one HTML file."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from periogt_ray.polymer.inputs import monomers_of
from periogt_ray.tables.html import Drawings, html_document, html_table, html_text, without_drawings
from periogt_ray.training.evaluate import Compared, Evaluation

__all__ = ["evaluation_table", "render_evaluation"]

_SIDE = 360.0  # of the parity plot, in its own units
_MARGIN = 46.0
_TITLES = ("rows", "n", "R2", "RMSE", "MAE", "Spearman", "mean error", "90 % covers", "mean width")


def evaluation_table(document: Mapping[str, Any]) -> str:
    """Return the figures as aligned text."""
    rows = [_TITLES, *(_cells(name, group) for name, group in document["groups"].items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = [f"{document['label']} ({document['units'] or 'no unit'}): {_told(document)}", ""]
    lines += [
        "  ".join(f"{cell:>{w}}" if i else f"{cell:{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines += ["", "Largest errors:"]
    lines += [
        f"  {one['id']}: {one['value']:.4g} measured, {one['prediction']:.4g} predicted  {one['smiles']}"
        for one in document["worst"]
    ]
    return "\n".join(lines)


def _told(document: Mapping[str, Any]) -> str:
    n_left = len(document["left_out"])
    parts = [f"{document['groups']['all']['n']} polymers"]
    if n_left:
        parts.append(f"{n_left} rows left out")
    if document["is_calibrated"]:
        parts.append(_overlap(document))
    else:
        parts.append("not calibrated, so no intervals and no domain")
    return ", ".join(parts)


def _overlap(document: Mapping[str, Any]) -> str:
    """Say on which rows the intervals are measured."""
    if not document["is_overlap_known"]:
        return "it is not recorded which rows trained the network and made the intervals, so all may look too good"
    n_known, n_made, n_new = (document[key] for key in ("n_in_training_data", "n_in_calibration", "n_new"))
    told = f"{n_known} in the training data, {n_made} among those that the intervals were made from"
    tested = f"coverage on the {n_new} that are new" if n_new else "no new ones to measure coverage on"
    return f"{told}, {tested}"


def _cells(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    interval = group["intervals"].get("0.9")
    covered = ("", "")
    if interval is not None:
        covered = (
            f"{100 * interval['coverage']:.0f} +- {100 * interval['coverage_error']:.0f} %"
            + (f" of {interval['n']}" if interval["n"] < group["n"] else ""),
            f"{interval['width']:.3g}",
        )
    r2 = "none" if group["r2"] is None else f"{group['r2']:.3f}"
    numbers = (f"{group[key]:.3g}" for key in ("rmse", "mae", "spearman", "mean_error"))
    return (name.replace("_", " "), str(group["n"]), r2, *numbers, *covered)


def render_evaluation(evaluation: Evaluation, document: Mapping[str, Any], *, source: str, artifacts: str) -> str:
    """Return the report as one HTML file.

    Parameters
    ----------
    evaluation : Evaluation
        What was found.
    document : Mapping
        From :func:`~periogt_ray.training.evaluate.evaluation_document`.
    source, artifacts : str
        Names of the table and of the model.
    """
    info = evaluation.info
    rows = (tuple(map(html_text, _cells(name, group))) for name, group in document["groups"].items())
    agreement = html_table("Agreement", _TITLES, rows, number_columns=tuple(range(1, 9)))
    drawings = Drawings()
    worst = "".join(_worst(one, info.units, drawings) for one in evaluation.worst)
    left_out = ""
    if evaluation.left_out:
        cells = ((html_text(one.id), html_text(one.smiles), html_text(one.reason)) for one in evaluation.left_out)
        name = "Rows left out"
        left_out = f"<h2>{name}</h2>{html_table(name, ('Row', 'SMILES', 'Reason'), cells, number_columns=())}"
    main = f"""<h1>{html_text(info.label)}: predictions and measured values</h1>
<p class="lead">{html_text(source)}, predicted by {html_text(artifacts)}: {html_text(_told(document))}.</p>
{agreement}
<h2>Parity</h2><div class="card">{_parity(evaluation)}</div>
{_coverage(document)}
<h2>Largest errors</h2>{without_drawings()}<div class="card"><ol class="ranked">{worst}</ol></div>
{left_out}"""
    return html_document(f"{info.id}: PerioGT evaluation", main)


def _worst(one: Compared, units: str, drawings: Drawings) -> str:
    domain = f", {one.status.replace('_', ' ')}" if one.status else ""
    tiles = "".join(drawings.tile(unit.smiles) for unit in monomers_of(one.row.unit))
    return (
        f"<li>{tiles}<div><strong>{one.prediction:.4g}</strong> "
        f'<span class="units">{html_text(units)}</span> predicted, {one.row.value:.4g} measured{domain}<br>'
        f'{html_text(one.row.id)}<span class="mono">{html_text(one.row.smiles)}</span></div></li>'
    )


def _coverage(document: Mapping[str, Any]) -> str:
    intervals = document["groups"]["all"]["intervals"]
    if not intervals:
        return ""
    rows = (
        (
            f"{100 * float(level):g} %",
            f"{100 * found['coverage']:.1f} ± {100 * found['coverage_error']:.1f} %",
            f"{found['width']:.4g}",
            f"{100 * found['relative_width']:.0f} %",
            f"{found['score']:.4g}",
            f"{found['rank_correlation']:.2f}",
        )
        for level, found in intervals.items()
    )
    titles = (
        "Level",
        "Covers",
        "Mean width",
        "of the values' deviation",
        "Interval score",
        "Rank correlation with error",
    )
    return f"<h2>Intervals</h2>{html_table('Intervals', titles, rows, number_columns=(1, 2, 3, 4, 5))}"


def _parity(evaluation: Evaluation) -> str:
    """Return the parity plot as SVG; points outside the domain are hollow."""
    both = np.concatenate([evaluation.values, evaluation.predictions])
    low, high = float(both.min()), float(both.max())
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return _MARGIN + (_SIDE - 2 * _MARGIN) * (value - low) / span

    def points() -> Iterator[str]:
        for one in evaluation.compared:
            look = 'fill="var(--accent)"' if one.status in (None, "inside") else 'fill="none" stroke="var(--bad)"'
            x, y = at(one.row.value), _SIDE - at(one.prediction)
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {look} fill-opacity="0.6"/>'

    ends = at(low), at(high)
    hollow = "" if evaluation.compared[0].status is None else " Hollow points are outside the domain."
    return (
        f'<svg viewBox="0 0 {_SIDE:g} {_SIDE:g}" role="img" aria-label="Predicted against measured" '
        'style="max-width:32rem;width:100%">'
        f'<line x1="{ends[0]:.1f}" y1="{_SIDE - ends[0]:.1f}" x2="{ends[1]:.1f}" y2="{_SIDE - ends[1]:.1f}" '
        f'stroke="var(--muted)" stroke-dasharray="4 4"/>{"".join(points())}'
        f'<g font-size="11" fill="currentColor"><text x="{ends[0]:.1f}" y="{_SIDE - 22:g}">{low:.4g}</text>'
        f'<text x="{ends[1]:.1f}" y="{_SIDE - 22:g}" text-anchor="end">{high:.4g}</text>'
        f'<text x="{_SIDE / 2:g}" y="{_SIDE - 8:g}" text-anchor="middle">measured</text>'
        f'<text x="12" y="{_SIDE / 2:g}" text-anchor="middle" transform="rotate(-90 12 {_SIDE / 2:g})">'
        "predicted</text></g>"
        f'</svg><p class="hint">The dashed line is agreement.{hollow}</p>'
    )
