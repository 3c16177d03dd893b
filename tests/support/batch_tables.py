"""Tables for batches, and what their outputs have to hold."""

import csv
from pathlib import Path

from periogt_ray.model.predictor import Predictor
from periogt_ray.model.tasks import Task
from periogt_ray.polymer.features import featurize
from periogt_ray.polymer.repeat_unit import RepeatUnit
from support.golden import golden_polymers


def small_polymers(n: int) -> list[str]:
    return sorted((golden.smiles for golden in golden_polymers()), key=len)[:n]


def rows_but_request_ids(output: Path) -> list[list[str]]:
    with output.open(newline="") as file:
        rows = list(csv.reader(file))
    assert len({row[8] for row in rows}) == len(rows)
    return [row[:8] + row[9:] for row in rows]


def write_input(path: Path) -> Path:
    smiles = small_polymers(12)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "smiles"])
        for number, text in enumerate([*smiles, "bad", "[*]CC[*]", "", "C(*)C*", *smiles[:4]]):
            writer.writerow([f"{number:03}" if number % 5 else "", text])
    return path


def expected_rows(input_path: Path, predictor: Predictor, properties: list[str]) -> list[list[str]]:
    rows = []
    with input_path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name in properties:
                shown = [row["id"], row["smiles"], name]
                if row["smiles"] in ("bad", ""):
                    rows.append(shown)
                    continue
                polymer = featurize(RepeatUnit.parse(row["smiles"]), predictor.scheme(name))
                [outcome] = predictor.predict_many([Task(polymer, name)])
                rows.append([*shown, repr(outcome.value), outcome.units, "true", *[""] * 6])
    return rows
