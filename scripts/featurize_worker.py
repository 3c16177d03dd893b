"""Featurize polymers as asked on standard input: a round of ``bench_featurize.py --against``, in any revision.

Reads one JSON list of SMILES, then lines with the name of a prompt scheme each; answers a line with the seconds of CPU
that all polymers took. Nothing but ``periogt_ray`` of the revision is imported, under its name of then.
"""

import json
import sys
import time
from collections.abc import Callable


def featurizer() -> Callable[[str, str], object]:
    """Return a function of a SMILES and the name of a prompt scheme."""
    try:
        from periogt_ray.polymer.features import featurize
        from periogt_ray.polymer.prompt_scheme import PromptScheme
        from periogt_ray.polymer.repeat_unit import RepeatUnit
    except ImportError:  # before the package had wings
        from periogt_ray.featurize import PromptScheme, featurize  # type: ignore[no-redef]

        from periogt_ray.polymer import RepeatUnit  # type: ignore[no-redef,attr-defined]
    return lambda smiles, scheme: featurize(RepeatUnit.parse(smiles), getattr(PromptScheme, scheme.upper()))


def main() -> None:
    """Answer until the input ends."""
    smiles = json.loads(sys.stdin.readline())
    featurize = featurizer()
    featurize("*CC*", "release")  # loads the kernels, or compiles them
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.process_time()
        for text in smiles:
            featurize(text, line.strip())
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
