"""``periogt finetune``: a table of polymers and values in, a property that is served out."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from periogt_ray.commands.output import OnceCommand, print_json, resolved_settings

if TYPE_CHECKING:
    from periogt_ray.training.options import FinetuneOptions

__all__ = ["finetune"]

logger = logging.getLogger(__name__)

# Options that FinetuneOptions has under the same names.
_PASSED = (
    "data",
    "property_id",
    "units",
    "label",
    "recipe",
    "scheme",
    "split",
    "test_share",
    "n_folds",
    "n_members",
    "epochs",
    "patience",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "alpha",
    "seed",
    "is_fast",
    "is_deterministic",
    "shares_smiles",
)


@click.command(cls=OnceCommand)
@click.option("--data", required=True, type=click.Path(path_type=Path), help="CSV or Parquet of polymers and values.")
@click.option("--property", "property_id", required=True, help="Id of the new property, for example my_eps.")
@click.option("--units", required=True, help="Unit of the values; '' if they have none.")
@click.option("--output", type=click.Path(path_type=Path), help="Directory.  [default: <PERIOGT_MODELS>/<id>]")
@click.option("--label", default="", help="Name of the property for people.  [default: its id]")
@click.option("--smiles-column", help="Column of the SMILES.  [default: found by its name]")
@click.option("--value-column", default="value", show_default=True, help="Column of the values.")
@click.option("--split-column", help="Column with your own split: train, val, test, calibration.")
@click.option("--weight-column", help="Column of weights in the loss.")
@click.option(
    "--transform", type=click.Choice(["none", "log10"]), default="none", show_default=True, help="Transform the values."
)
@click.option(
    "--duplicates",
    type=click.Choice(["median", "mean", "error"]),
    default="median",
    show_default=True,
    help="Value of a polymer in several rows; error refuses them.",
)
@click.option(
    "--recipe",
    type=click.Choice(["default", "authors"]),
    default="default",
    show_default=True,
    help="Protocol; authors trains one network on 72/8/20 %, as PerioGT's authors do.",
)
@click.option("--scheme", help="Prompt scheme.  [default: that of the encoder's artifacts]")
@click.option(
    "--split",
    type=click.Choice(["random", "cluster"]),
    default="random",
    show_default=True,
    help="How folds are divided; cluster keeps similar polymers together.",
)
@click.option(
    "--test",
    "test_share",
    type=click.FloatRange(0, 0.5),
    default=0.2,
    show_default=True,
    help="Share of test polymers.",
)
@click.option("--folds", "n_folds", type=click.IntRange(2, 20), default=5, show_default=True, help="Number of folds.")
@click.option(
    "--members",
    "n_members",
    type=click.IntRange(1, 100),
    help="Number of networks.  [default: one for each fold]",
)
@click.option(
    "--epochs", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most epochs of a training."
)
@click.option(
    "--patience",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Epochs without a better validation error after which training stops.",
)
@click.option(
    "--lr", "learning_rate", type=click.FloatRange(0, 1, min_open=True), help="Peak learning rate.  [default: tried]"
)
@click.option(
    "--dropout", type=click.FloatRange(0, 0.9), help="Dropout rate.  [default: 0.05; 0 with --recipe authors]"
)
@click.option("--weight-decay", type=click.FloatRange(0, 10), default=0.0, show_default=True, help="Of Adam.")
@click.option(
    "--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Polymers in an update."
)
@click.option("--freeze", is_flag=True, help="Train only the new layers, not the encoder.")
@click.option(
    "--alpha", type=click.FloatRange(0.01, 0.5), default=0.1, show_default=True, help="Share outside intervals."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random numbers.")
@click.option("--time-limit", type=click.FloatRange(1), help="Seconds after which training stops at its best epoch.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to train.  [default: PERIOGT_DEVICE, else a GPU if there is one]",
)
@click.option("--fast", "is_fast", is_flag=True, help="Use TF32 on a GPU: faster, less exact.")
@click.option("--deterministic", "is_deterministic", is_flag=True, help="Use deterministic algorithms on a GPU.")
@click.option("--share-training-smiles", "shares_smiles", is_flag=True, help="Write the SMILES into splits.csv.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), help="Train here, or on Ray.  [default: ray if RAY_ADDRESS is set]"
)
@click.option("--force", is_flag=True, help="Continue despite many bad rows or contradictions.")
@click.option("--check", is_flag=True, help="Read the table, report, estimate the time, and stop.")
def finetune(**given: Any) -> None:
    """Finetune networks on your own polymers; the new property is served at once.

    Reads the table, reports on each row, and trains one network for each fold. Compares them with trees and with the
    mean, on polymers that they have not seen, and writes a package. The same command continues an interrupted run.
    Exit status: 0 success, 1 some rows were left out or the run was interrupted, 2 nothing could be done.
    """
    env = dict(os.environ)
    if given["device"]:
        env["PERIOGT_DEVICE"] = given["device"]
    if given["is_deterministic"]:
        # Read when CUDA starts; without it, deterministic products are refused.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = resolved_settings(env)
    from periogt_ray.training.estimate import check_finetune

    options = _options(given, settings.models_dir or settings.base_dir / "models")
    if given["check"]:
        found = check_finetune(options, settings)
        for warning in found["labels"]["warnings"]:
            logger.warning("%s", warning)
        print_json(found)
        raise SystemExit(1 if found["labels"]["n_left_out"] else 0)
    from periogt_ray.commands.finetune_progress import run_with_progress

    summary = run_with_progress(options, settings)
    if summary is None:
        raise SystemExit(1)
    print_json(summary)
    raise SystemExit(1 if summary["n_left_out"] else 0)


def _options(given: dict[str, Any], models_dir: Path) -> "FinetuneOptions":
    from periogt_ray.training.dataset import DataOptions
    from periogt_ray.training.options import FinetuneOptions

    address = os.environ.get("RAY_ADDRESS") or None
    is_authors = given["recipe"] == "authors"
    return FinetuneOptions(
        **{name: given[name] for name in _PASSED},
        output=(given["output"] or models_dir / given["property_id"]).absolute(),
        table=DataOptions(
            given["smiles_column"],
            given["value_column"],
            given["split_column"],
            given["weight_column"],
            given["duplicates"],
            is_log10=given["transform"] == "log10",
            is_forced=given["force"],
        ),
        dropout=0.0 if is_authors and given["dropout"] is None else given["dropout"],
        is_frozen=given["freeze"],
        time_limit_s=given["time_limit"],
        engine=given["engine"] or ("ray" if address else "local"),
        address=address,
    )
