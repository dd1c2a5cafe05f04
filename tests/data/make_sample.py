"""Makes tests/data/digits from MNIST: a few hundred digits, with MNIST's class shares.

    python tests/data/make_sample.py FOLDER_WITH_MNIST

The training pair is 450 digits followed by 150, each part with MNIST's share of every digit, so
that both parts of an eval_fraction of 0.25 have it. The test pair is 300 digits. Digits keep the
order of the files.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.images import idx_format

HERE = Path(__file__).parent / "digits"


def stratified(labels: NDArray[np.uint8], count: int, taken: set[int]) -> list[int]:
    """The first `count` unused positions with the class shares of the labels."""
    shares = np.bincount(labels, minlength=10) / len(labels) * count
    counts = np.floor(shares).astype(int)
    for digit in np.argsort(counts - shares)[: count - counts.sum()]:
        counts[digit] += 1
    chosen: list[int] = []
    for position, label in enumerate(labels):
        if position not in taken and counts[label]:
            counts[label] -= 1
            chosen.append(position)
    taken.update(chosen)
    return chosen


def main(source: Path) -> None:
    for prefix, sizes in (("train", (450, 150)), ("t10k", (300,))):
        pair = idx_format.read_pair(*idx_format.find_pair(source, f"{prefix}-*"))
        taken: set[int] = set()
        positions = [
            position for size in sizes for position in stratified(pair.labels, size, taken)
        ]
        for kind, values in (("images-idx3", pair.images), ("labels-idx1", pair.labels)):
            content = gzip.compress(idx_format.serialize(values[positions]), mtime=0)
            (HERE / f"{prefix}-{kind}-ubyte.gz").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
