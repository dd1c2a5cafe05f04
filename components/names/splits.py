"""The splits of the data, and the IDX files that they come from. Standard library only."""

from __future__ import annotations

from typing import Final

TRAIN: Final = "train"
EVAL: Final = "eval"  # the end of the training files
TEST: Final = "test"
SPLITS: Final = (TRAIN, EVAL, TEST)

CORRUPTED: Final = "corrupted"  # made from `test` by CorruptedExamples

# Patterns of file names, raw or gzipped: an image file and a label file match each.
TRAIN_FILES: Final = "train-*"
TEST_FILES: Final = "t10k-*"
