"""Predict the shipped example polymers and print a table."""

import csv
import logging
import os
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from periogt_ray.errors import PerioGTError
from periogt_ray.featurize import featurize
from periogt_ray.polymer import RepeatUnit
from periogt_ray.predictor import Job, Predictor
from periogt_ray.settings import EXAMPLES, Settings


def main() -> None:
    """Predict every property of every example with whatever model the settings name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = Settings.from_env(os.environ)
    settings.log()
    predictor = Predictor.load(settings)
    infos = [predictor.artifacts.property(property_id) for property_id in predictor.artifacts.supported]
    with EXAMPLES.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    units = [RepeatUnit.parse(row["smiles"]) for row in rows]
    schemes = {predictor.scheme(info.id) for info in infos}
    features = {(unit, scheme): featurize(unit, scheme) for unit in units for scheme in schemes}
    jobs = [Job(features[unit, predictor.scheme(info.id)], info.id) for unit in units for info in infos]
    outcomes = predictor.predict_many(jobs)

    table = Table(title=f"Predicted by {predictor.artifacts.name}", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("polymer\nSMILES of the repeat unit", overflow="fold")
    for info in infos:
        table.add_column(f"{info.id}\n{info.units}", justify="right", no_wrap=True, min_width=5)
    for index, row in enumerate(rows):
        answers = outcomes[index * len(infos) : (index + 1) * len(infos)]
        values = [answer.error.code if answer.error else f"{answer.value:.2f}" for answer in answers]
        table.add_row(Text(f"{row['id']}\n").append(row["smiles"], style="cyan"), *values)
    console = Console()
    console.print(table)
    for info in infos:
        console.print(f"  {info.id}: {info.label}{f', {info.units}' if info.units else ''}")
    console.print("Predict your own: scripts/run predict --smiles '*CC(*)c1ccccc1' --property egc")


if __name__ == "__main__":
    try:
        main()
    except PerioGTError as error:
        sys.exit(f"error [{error.code}]: {error.message}")
