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
@click.option(
    "--property",
    "property_id",
    required=True,
    help="Id of the new property, for example my_eps; of several columns A,B.",
)
@click.option("--units", required=True, help="Unit of the values, or of several columns U,V; '' if they have none.")
@click.option("--output", type=click.Path(path_type=Path), help="Directory.  [default: <PERIOGT_MODELS>/<id>]")
@click.option("--label", default="", help="Name of the property for people.  [default: its id]")
@click.option("--smiles-column", help="Column of the SMILES.  [default: found by its name]")
@click.option("--value-column", default="value", show_default=True, help="Column of the values, or several: A,B.")
@click.option("--no-header", is_flag=True, help="The first row is data; columns have numbers, from 1.")
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
    mean, on polymers that they have not seen, and writes a package. Several columns are trained one after the other,
    with shared features, into one package each. The same command continues an interrupted run. Exit status:
    0 success, 1 some rows were left out or the run was interrupted, 2 nothing could be done.
    """
    env = dict(os.environ)
    if given["device"]:
        env["PERIOGT_DEVICE"] = given["device"]
    if given["is_deterministic"]:
        # Read when CUDA starts; without it, deterministic products are refused.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = resolved_settings(env)
    from periogt_ray.training.estimate import check_finetune

    columns = _options(given, settings.models_dir or settings.base_dir / "models")
    if given["check"]:
        checked = [check_finetune(options, settings) for options in columns]
        for found in checked:
            for warning in found["labels"]["warnings"]:
                logger.warning("%s: %s", found["property"], warning)
        print_json(_of_all(checked))
        raise SystemExit(1 if any(found["labels"]["n_left_out"] for found in checked) else 0)
    from periogt_ray.commands.finetune_progress import run_columns

    summaries = run_columns(columns, settings)
    if summaries is None:
        raise SystemExit(1)
    print_json(_of_all(summaries))
    raise SystemExit(1 if any(summary["n_left_out"] for summary in summaries) else 0)


def _of_all(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is printed: the document of one column as it is, those of several as a list."""
    return documents[0] if len(documents) == 1 else {"properties": documents}


def _options(given: dict[str, Any], models_dir: Path) -> "list[FinetuneOptions]":
    """Return the options of each column's run."""
    from periogt_ray.training.dataset import DataOptions
    from periogt_ray.training.options import FinetuneOptions
    from periogt_ray.training.value_columns import options_of_columns

    address = os.environ.get("RAY_ADDRESS") or None
    is_authors = given["recipe"] == "authors"
    options = FinetuneOptions(
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
            has_header=not given["no_header"],
        ),
        dropout=0.0 if is_authors and given["dropout"] is None else given["dropout"],
        is_frozen=given["freeze"],
        time_limit_s=given["time_limit"],
        engine=given["engine"] or ("ray" if address else "local"),
        address=address,
    )
    return options_of_columns(options, (given["output"] or models_dir).absolute())
