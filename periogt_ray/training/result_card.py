"""The card of a finetuned property, as text and as a page that needs no other file."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from periogt_ray.training.figures import Figures, Judged
from periogt_ray.training.run import Finished

__all__ = ["card_text", "report_page"]

_SIZE = 320  # of a plot, pixels
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .75rem;border-bottom:1px solid #ccc;"
    "text-align:left}svg{background:#fafafa}.verdict{font-size:1.2rem}"
)


def card_text(run: Finished, figures: Figures) -> str:
    """Return MODEL_CARD.md."""
    options = run.options
    lines = [
        f"# {options.label or options.property_id}",
        "",
        f"{figures.verdict}",
        "",
        f"Property `{options.property_id}`, unit {options.units or 'none'}. {len(run.kept)} networks finetuned from "
        f"the encoder of {run.artifacts.name}, prompt scheme `{run.scheme.name}`. A prediction is their mean.",
        "",
        "## Accuracy on polymers that trained nothing",
        "",
        *_markdown(_score_rows(figures.metrics)),
        "",
        "## Intervals",
        "",
        *_markdown(_coverage_rows(figures.metrics)),
        "",
        f"Widths follow from {figures.metrics['interval_scale']}. They assume polymers like those of the data.",
        "",
        "## Data",
        "",
        *(f"- {text}" for text in _data_facts(run)),
        "",
        "## Limits of use",
        "",
        *(f"- {text}" for text in _limits(run)),
        "",
    ]
    return "\n".join(lines)


def _data_facts(run: Finished) -> Iterator[str]:
    report = run.report
    yield f"{report.n_rows} rows, {report.n_left_out} left out (rows.csv), {report.n_polymers} polymers"
    if report.n_blank:
        yield f"{report.n_blank} of the rows have values in other columns only"
    yield f"values {report.minimum:.4g} to {report.maximum:.4g}, median {report.median:.4g}, std {report.std:.4g}"
    yield from report.warnings
    yield from run.notes


def _limits(run: Finished) -> Iterator[str]:
    yield f"Only values from {run.report.minimum:.4g} to {run.report.maximum:.4g} were seen in training."
    if run.prepared.has_places:
        yield "Polymers unlike those of the data are flagged; the figures by clusters tell what to expect there."
    else:
        yield "Copolymers unlike those of the data are not flagged; the figures by clusters tell what to expect there."
    if run.report.n_polymers < 200:
        yield "The data set is small: figures are uncertain."


def _score_rows(metrics: dict[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("division", "model", "n", "R2", "RMSE", "MAE", "Spearman")]
    for key, name in (("test", "held-out test"), ("out_of_fold", "out of fold"), ("cluster", "by clusters")):
        for model, scores in (metrics[key] or {}).items():
            if scores is not None:
                figures = [f"{scores[figure]:.4g}" for figure in ("r2", "rmse", "mae", "spearman")]
                rows.append((name, model, str(scores["n"]), *figures))
    return rows


def _coverage_rows(metrics: dict[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("division", "wanted", "covered", "n", "mean width")]
    for name, entries in metrics["coverage"].items():
        for entry in entries:
            covered = f"{entry['coverage']:.1%} +- {entry['error']:.1%}"
            width = "infinite: too few polymers" if entry["mean_width"] < 0 else f"{entry['mean_width']:.4g}"
            rows.append((name, f"{entry['level']:.0%}", covered, str(entry["n"]), width))
    return rows


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{' --- |' * len(rows[0])}"
    for row in rows[1:]:
        yield f"| {' | '.join(row)} |"


def report_page(run: Finished, figures: Figures) -> str:
    """Return report.html."""
    title = escape(f"{run.options.label or run.options.property_id} ({run.options.property_id})")
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="verdict">{escape(figures.verdict)}</p>',
        "<h2>Accuracy on polymers that trained nothing</h2>",
        _table(_score_rows(figures.metrics)),
        _parity(figures.judged, run.options.units),
        "<h2>Intervals</h2>",
        _table(_coverage_rows(figures.metrics)),
        "<h2>Training</h2>",
        _curves(run),
        _table(_learning_rows(figures.metrics)),
        "<h2>Data</h2>",
        "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in _data_facts(run)) + "</ul>",
        "<h2>Rows that were left out</h2>",
        _table([("line", "SMILES", "value", "reason"), *_left_out(run)]),
    ]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _left_out(run: Finished) -> Iterator[Sequence[str]]:
    for row in run.prepared.dataset.left_out[:100]:
        yield str(row.line), row.smiles[:80], row.value[:40], row.reason


def _learning_rows(metrics: dict[str, Any]) -> list[Sequence[str]]:
    rows = [(str(entry["n"]), f"{entry['trees_rmse']:.4g}") for entry in metrics["learning_curve"]]
    return [("polymers learned from", "error of trees"), *rows]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _parity(judged: Sequence[Judged], units: str) -> str:
    """Draw predictions against values: test filled, out of fold hollow."""
    if not judged:
        return ""
    numbers = [number for each in judged for number in (each.value, each.prediction)]
    low, high = min(numbers), max(numbers)
    scale = (_SIZE - 40) / ((high - low) or 1.0)

    def place(number: float) -> float:
        return 20 + (number - low) * scale

    dots = "".join(
        f'<circle cx="{place(each.value):.1f}" cy="{_SIZE - place(each.prediction):.1f}" r="2.5" '
        f'fill="{"#0b62a4" if each.part == "test" else "none"}" stroke="#0b62a4"/>'
        for each in judged
    )
    line = f'<line x1="20" y1="{_SIZE - 20}" x2="{_SIZE - 20}" y2="20" stroke="#999"/>'
    told = f"Predictions (up) against values (right), {low:.4g} to {high:.4g} {units}: test filled, out of fold hollow."
    return f'<svg width="{_SIZE}" height="{_SIZE}" role="img">{line}{dots}</svg><p>{escape(told)}</p>'


def _curves(run: Finished) -> str:
    """Draw the validation error of each network over its epochs."""
    members = run.folds.members
    errors = [[epoch.validation_rmse for epoch in member.history] for member in members]
    finite = [error for curve in errors for error in curve if np.isfinite(error)]
    if not finite:
        return ""
    top, longest = max(finite), max(map(len, errors))
    lines = "".join(
        '<polyline fill="none" stroke="#0b62a4" points="'
        + " ".join(
            f"{20 + k * (_SIZE - 40) / max(1, longest - 1):.1f},{_SIZE - 20 - min(error, top) / top * (_SIZE - 40):.1f}"
            for k, error in enumerate(curve)
        )
        + '"/>'
        for curve in errors
    )
    told = f"Validation error of each network, in standard deviations, 0 to {top:.3g}, over {longest} epochs."
    return f'<svg width="{_SIZE}" height="{_SIZE}" role="img">{lines}</svg><p>{escape(told)}</p>'
