"""The result of a run as files: the package, and what people read of it."""

import csv
import io
import platform
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from periogt_ray import __version__
from periogt_ray.artifacts.calibration import calibration_path
from periogt_ray.artifacts.layout import LABEL_STATS_NAME
from periogt_ray.artifacts.manifest import RecordedFile
from periogt_ray.artifacts.members import member_path
from periogt_ray.artifacts.packages import write_package
from periogt_ray.runtime.files import (
    PRIVATE_DIRECTORY_MODE,
    PRIVATE_MODE,
    make_directory,
    sha256_of,
    write_bytes_atomically,
    write_json_atomically,
)
from periogt_ray.training.claim import WORK_NAME, clear_work
from periogt_ray.training.figures import Figures
from periogt_ray.training.members import Member
from periogt_ray.training.new_network import FAMILIES, untrained_extras
from periogt_ray.training.result_card import card_text, report_page
from periogt_ray.training.run import Finished

__all__ = ["write_result"]

_LIBRARIES = ("torch", "numpy", "rdkit", "scikit-learn", "safetensors")


def write_result(run: Finished, figures: Figures) -> None:
    """Write everything, package.json last, then remove what the run worked with.

    Parameters
    ----------
    run : Finished
        The run.
    figures : Figures
        What it has shown.
    """
    try:
        _write(run, figures)
    finally:
        run.lock.release()


def _write(run: Finished, figures: Figures) -> None:
    options, root = run.options, run.options.output
    write_private = partial(write_bytes_atomically, mode=PRIVATE_MODE)
    members = [member_path(options.property_id, number) for number in range(len(run.kept))]
    extras = untrained_extras(run.context.encoder)
    for path, member in zip(members, run.kept, strict=True):
        make_directory((root / path).parent, mode=PRIVATE_DIRECTORY_MODE)
        write_private(root / path, _weights(member, extras))
    statistics = {options.property_id: run.context.statistics.document()}
    write_json_atomically(root / LABEL_STATS_NAME, statistics, mode=PRIVATE_MODE)
    figures.calibration.save(root / calibration_path(options.property_id), mode=PRIVATE_MODE)
    _write_tables(run, figures)
    write_json_atomically(root / "metrics.json", figures.metrics, mode=PRIVATE_MODE)
    write_json_atomically(root / "run.json", _run_document(run), mode=PRIVATE_MODE)
    write_private(root / "MODEL_CARD.md", card_text(run, figures).encode())
    write_private(root / "report.html", report_page(run, figures).encode())
    files = {path.relative_to(root).as_posix(): _record(path) for path in _files(root)}
    write_package(root, _package_document(run, figures, members), files)
    clear_work(root)


def _weights(member: Member, extras: dict[str, torch.Tensor]) -> bytes:
    return save({key: value.contiguous() for key, value in {**extras, **member.state}.items()})


def _files(root: Path) -> Iterable[Path]:
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return (path for path in found if path.relative_to(root).parts[0] != WORK_NAME)


def _record(path: Path) -> RecordedFile:
    return RecordedFile(path.stat().st_size, sha256_of(path))


def _package_document(run: Finished, figures: Figures, members: Sequence[str]) -> dict[str, Any]:
    options = run.options
    test = (figures.metrics["test"] or figures.metrics["out_of_fold"] or {}).get("network")
    return {
        "id": options.property_id,
        "label": options.label or options.property_id,
        "units": options.units,
        "family": FAMILIES[run.prepared.dataset.kind],
        "scheme": run.scheme.name,
        "members": list(members),
        "encoder": {
            "name": run.artifacts.name,
            "sha256": run.artifacts.encoder_sha256,
            "width": run.artifacts.encoder_dims["width"],
        },
        "data_sha256": run.prepared.dataset.sha256,
        "made_by": f"periogt_ray {__version__}",
        "summary": {"test": test, "n_train": len(run.folds.plan.known), "verdict": figures.verdict},
    }


def _write_tables(run: Finished, figures: Figures) -> None:
    root, dataset = run.options.output, run.prepared.dataset
    part_of = _parts(run)
    rows = [(row.line, row.smiles, row.value, row.fate, row.reason, part_of.get(row.key, "")) for row in dataset.rows]
    _write_csv(root / "rows.csv", ("line", "smiles", "value", "fate", "reason", "part"), rows)
    shares = run.options.shares_smiles
    lines = {polymer.key: " ".join(map(str, polymer.lines)) for polymer in dataset.polymers}
    divided = [(lines[p.key], p.smiles if shares else "", part_of[p.key]) for p in dataset.polymers]
    _write_csv(root / "splits.csv", ("lines", "smiles", "part"), divided)
    predicted = [
        (
            dataset.polymers[j.position].lines[0],
            j.part,
            *(_shown(number) for number in (j.value, j.prediction, j.lower, j.upper, j.trees)),
            j.domain,
        )
        for j in figures.judged
    ]
    header = ("line", "part", "value", "prediction", "interval_lower", "interval_upper", "trees", "domain")
    _write_csv(root / "predictions.csv", header, predicted)


def _parts(run: Finished) -> dict[str, str]:
    """Return the part of each polymer in words, by key."""
    plan, polymers = run.folds.plan, run.prepared.dataset.polymers
    found = dict.fromkeys((polymer.key for polymer in polymers), "")
    for i in plan.known:
        found[polymers[i].key] = "train"
    for number, job in enumerate(run.folds.jobs[: run.options.n_folds]):
        for i in job.fold.held_out:
            found[polymers[i].key] = f"fold {number}"
    for name, rows in (("calibration", plan.calibration), ("test", plan.test)):
        for i in rows:
            found[polymers[i].key] = name
    return found


def _shown(number: float) -> str:
    return "" if not np.isfinite(number) else str(np.float32(number))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes_atomically(path, buffer.getvalue().encode(), mode=PRIVATE_MODE)


def _run_document(run: Finished) -> dict[str, Any]:
    device = run.context.polymers.device.type
    repeats = "equal bytes, on one thread" if device == "cpu" else "close figures, not equal bytes"
    return {
        "options": run.options.identity(),
        "recipe": run.folds.jobs[0].recipe.as_dict(),
        "n_folds": len(run.folds.jobs),
        "labels": run.report.as_dict(),
        "notes": list(run.notes),
        "data_sha256": run.prepared.dataset.sha256,
        "encoder": {"name": run.artifacts.name, "sha256": run.artifacts.encoder_sha256},
        "device": device,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {"periogt_ray": __version__, **{name: _version(name) for name in _LIBRARIES}},
        "seconds": round(run.seconds, 1),
        "a_repetition_gives": repeats,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
