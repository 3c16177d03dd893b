#!/usr/bin/env python
"""Train the embedded model in steps, each of which goes on where it stopped; see ``--help``.

features  labels and features of all polymers into one file; needs RDKit
encoder   pretraining without labels (``--encoder DIR`` takes that of an artifact directory instead)
folds     a joint network and a member of each property for each of five folds, ``--jobs`` processes
fold      one of them, in this process
trees     the baseline on the same folds, ``--jobs`` processes
finish    artifact directory with calibrations and card; needs RDKit
test      the finished model on the test rows, once

Between features and finish neither RDKit nor numba is needed: copy the directory of ``--work``.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compact.without_rdkit import allow_absence

allow_absence()

import torch  # noqa: E402
from compact.recipe import Recipe, Stages, train_encoder, train_fold, train_folds  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = ("features", "encoder", "folds", "fold", "trees", "finish", "test")
    parser.add_argument("step", choices=steps)
    parser.add_argument("--work", type=Path, required=True, help="directory that keeps what each step made")
    parser.add_argument("--data", type=Path, help="directory of <property>.csv: smiles, value, split (features)")
    parser.add_argument("--cache", type=Path, help="npz file that keeps descriptors between runs (features)")
    parser.add_argument("--encoder", type=Path, help="artifact directory whose encoder is taken (encoder)")
    parser.add_argument("--out", type=Path, help="artifact directory to write (finish, test)")
    parser.add_argument("--fold", type=int, help="which one (fold)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (folds, trees; default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: 0)")
    parser.add_argument("--short", action="store_true", help="one epoch a stage, to try everything")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # One thread: sums in a fixed order, so that a seed gives the same numbers on the same machine.
    torch.set_num_threads(1)
    stages = Stages(options.work)
    recipe = Recipe().shortened() if options.short else Recipe()
    if options.step == "features":
        _features(options, stages)
    elif options.step == "encoder":
        if options.encoder is not None:
            _take_encoder(options.encoder, stages)
        train_encoder(stages, recipe, seed=options.seed)
    elif options.step == "folds":
        further = ["--seed", str(options.seed), *(["--short"] if options.short else [])]
        train_folds(Path(__file__).resolve(), stages, n_jobs=options.jobs, arguments=further)
    elif options.step == "fold":
        train_fold(stages, options.fold, recipe, seed=options.seed)
    elif options.step == "trees":
        from compact.tabular import train_trees

        train_trees(stages.features, options.work, n_jobs=options.jobs, seed=options.seed)
    elif options.step == "finish":
        from compact.finish import finish

        finish(stages, options.out, recipe, seed=options.seed)
    else:
        from compact.finish import evaluate_on_test

        evaluate_on_test(stages, options.out)
    return 0


def _features(options: argparse.Namespace, stages: Stages) -> None:
    from compact.dataset import read_dataset
    from compact.features import load_polymers
    from compact.training_file import write_training_file

    dataset = read_dataset(options.data)
    write_training_file(stages.features, dataset, load_polymers(dataset.polymers(), cache=options.cache))


def _take_encoder(root: Path, stages: Stages) -> None:
    """Take the encoder of an artifact directory that was made with the same split."""
    from periogt_ray.artifacts.weight_files import read_state_dict

    if not stages.encoder.is_file():
        state = read_state_dict(root / "pretrained_ckpt" / "base.safetensors")
        temporary = stages.encoder.with_suffix(".part")
        torch.save({key: tensor.float() for key, tensor in state.items()}, temporary)
        shutil.move(temporary, stages.encoder)


if __name__ == "__main__":
    sys.exit(main())
