"""Writes segments and compacts until it is killed: `python segment_writer.py DIRECTORY FIRST_NUMBER`."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from periogt_ray.polymer.compaction import compact
from periogt_ray.polymer.segments import SegmentWriter


def key_of(number: int) -> bytes:
    return random.Random(number).randbytes(16)


def content_of(number: int) -> bytes:
    """What every writer writes under a key, so that a wrong content is known."""
    return random.Random(-number).randbytes(number % 997)


def main() -> None:
    """Say each number once it is written."""
    directory, number = Path(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    while True:
        writer = SegmentWriter(directory)
        for _ in range(20):
            writer.append(key_of(number), content_of(number))
            print(number, flush=True)
            number += 1
        writer.seal()
        compact(directory, segment_bytes=40_000, least=3)


if __name__ == "__main__":
    main()
