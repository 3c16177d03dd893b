#!/usr/bin/env python
"""Train the embedded model and write its artifact directory; see ``--help``."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from compact.recipe import evaluate_on_test, measure_baseline, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Test rows are looked at by --evaluate-test alone.")
    parser.add_argument("--data", type=Path, required=True, help="directory of <property>.csv: smiles, value, split")
    parser.add_argument("--out", type=Path, required=True, help="artifact directory to write")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: 0)")
    parser.add_argument("--cache", type=Path, help="npz file that keeps descriptors between runs")
    parser.add_argument("--stages", type=Path, help="directory that keeps each stage's network, to continue from")
    parser.add_argument(
        "--evaluate-test",
        action="store_true",
        help="train nothing: measure the finished model in --out on the test rows, once",
    )
    parser.add_argument(
        "--baseline",
        action="store_true",
        help="train nothing: measure the baseline on the test rows and add it to the card of --out",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # One thread: sums in a fixed order, so that a seed gives the same numbers on the same machine.
    torch.set_num_threads(1)
    if options.evaluate_test:
        evaluate_on_test(options.data, options.out, cache=options.cache)
    if options.baseline:
        measure_baseline(options.data, options.out, cache=options.cache)
    if not (options.evaluate_test or options.baseline):
        train(options.data, options.out, seed=options.seed, cache=options.cache, stages=options.stages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
