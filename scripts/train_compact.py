#!/usr/bin/env python
"""Train the embedded model in steps, each of which goes on where it stopped; see ``--help``.

features  labels and features of all polymers into one file; needs RDKit
encoder   pretraining without labels (``--encoder DIR`` takes that of an artifact directory instead)
folds     a joint network and a member of each property for each of five folds, ``--jobs`` processes
fold      one of them, in this process
trees     the baseline on the same folds, ``--jobs`` processes; ``--out`` adds it to a finished card
finish    artifact directory with calibrations and card; needs RDKit
test      the finished model on the test rows, once
compare   adds to a finished card how far a training with another seed (``--other DIR``) is from this one
similarity  coverage on the folds by similarity to the training polymers, added to a finished card

copolymer-features   labels of ea and ip, and features of their monomers; needs RDKit
copolymers           the network of copolymers, from the joint network of fold 0
copolymers-held-out  another one that does not see some monomers
copolymers-finish    adds the networks to the artifact directory, as finish does where they are trained; needs RDKit
copolymers-test      them on the test rows, once; needs RDKit

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

_COPOLYMER_STEPS = (
    "copolymer-features",
    "copolymers",
    "copolymers-held-out",
    "copolymers-finish",
    "copolymers-test",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = (
        "features",
        "encoder",
        "folds",
        "fold",
        "trees",
        "finish",
        "test",
        "compare",
        "similarity",
        *_COPOLYMER_STEPS,
    )
    parser.add_argument("step", choices=steps)
    parser.add_argument("--work", type=Path, required=True, help="directory that keeps what each step made")
    parser.add_argument(
        "--data", type=Path, help="directory of <property>.csv: smiles, value, split (features, copolymer-features)"
    )
    parser.add_argument(
        "--cache", type=Path, help="npz file that keeps descriptors between runs (features, copolymer-features)"
    )
    parser.add_argument("--encoder", type=Path, help="artifact directory whose encoder is taken (encoder)")
    parser.add_argument(
        "--out", type=Path, help="artifact directory to write, or whose card is added to (from finish on)"
    )
    parser.add_argument("--other", type=Path, help="as --work, of a training with another seed (compare)")
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
    if options.step in _COPOLYMER_STEPS:
        _copolymers(options, recipe)
    elif options.step == "features":
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
        if options.out is not None:
            from compact.finish import add_trees

            add_trees(stages, options.out)
    elif options.step == "finish":
        from compact.finish import finish

        finish(stages, options.out, recipe, seed=options.seed)
    elif options.step == "compare":
        from compact.finish import add_other_training

        add_other_training(stages, Stages(options.other), options.out)
    elif options.step == "similarity":
        from compact.far_rows import add_far_rows

        add_far_rows(stages, options.out)
    else:
        from compact.finish import evaluate_on_test

        evaluate_on_test(stages, options.out)
    return 0


def _copolymers(options: argparse.Namespace, recipe: Recipe) -> None:
    from compact import copolymer_recipe

    stages = copolymer_recipe.CopolymerStages(options.work)
    if options.step == "copolymer-features":
        copolymer_recipe.write_copolymer_features(stages, options.data, cache=options.cache)
    elif options.step == "copolymers":
        copolymer_recipe.train_copolymer_network(stages, recipe, seed=options.seed)
    elif options.step == "copolymers-held-out":
        copolymer_recipe.train_held_out_network(stages, recipe, seed=options.seed)
    else:
        from compact.copolymer_finish import add_copolymers, evaluate_copolymers

        if options.step == "copolymers-finish":
            add_copolymers(stages, options.out, recipe, seed=options.seed)
        else:
            evaluate_copolymers(stages, options.out)


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
