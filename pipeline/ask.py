"""Asks a model server about images: digits of the test split, or files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components import idx_format
from pipeline import data as data_files
from pipeline.errors import DataError
from pipeline.events import Answer
from serving import images
from serving.errors import InvalidRequestError
from serving.images import Polarity

if TYPE_CHECKING:
    from serving.client import Client  # imports TensorFlow, with the protocol's stubs

IDX_PREFIX = "idx:"


@dataclass(frozen=True)
class Question:
    """Images to ask about in one request: [batch, 28, 28], with a name and a label for each."""

    images: NDArray[np.generic]
    names: Sequence[str]
    labels: Sequence[int | None]
    """What they show, where that is known."""


def test_digits(data: Path, count: int, seed: int) -> Iterator[Question]:
    """`count` images of the test split, chosen by `seed`.

    Raises:
      DataError: there is no test split.
    """
    pair = _test_split(data)
    chosen = np.random.default_rng(seed).permutation(len(pair.images))[:count]
    for index in chosen:
        yield _of_index(pair, int(index))


def read(inputs: Sequence[str], data_dir: Path | None, polarity: Polarity) -> list[Question]:
    """A question for each input: a picture, a .npy array of images, or "idx:N".

    Args:
      inputs: what to ask about; "idx:N" is image N of the test split.
      data_dir: the folder of IDX files that "idx:N" counts in; None for the cached MNIST.
      polarity: how the pictures are drawn.

    Raises:
      InvalidRequestError: an input is not an image.
      DataError: "idx:N" was asked for and there are no such files.
    """
    questions = []
    for given in inputs:
        if given.startswith(IDX_PREFIX):
            pair = _test_split(data_dir or data_files.cache_folder())
            questions.append(_of_index(pair, _index(given, len(pair.images))))
        else:
            batch = images.read(Path(given), polarity)
            several = [f"{given}[{index}]" for index in range(len(batch))]
            names = several if len(batch) > 1 else [given]
            questions.append(Question(batch, names, [None] * len(batch)))
    return questions


def ask(
    client: Client, question: Question, version: int | None = None, label: str | None = None
) -> list[Answer]:
    """One request; the arguments and errors are those of `Client.predict`."""
    prediction = client.predict(question.images, version, label)
    return [
        Answer(
            image=name,
            label=known,
            prediction=int(digit),
            probability=float(row[digit]),
            latency_ms=prediction.latency_s * 1000,
            version=prediction.version,
        )
        for name, known, digit, row in zip(
            question.names,
            question.labels,
            prediction.digits,
            prediction.probabilities,
            strict=True,
        )
    ]


def _test_split(folder: Path) -> idx_format.ImagesAndLabels:
    try:
        return idx_format.read_pair(*idx_format.find_pair(folder, "t10k-*"))
    except idx_format.IdxFormatError as error:
        raise DataError(f"{error} `mnist-tfx data` fetches MNIST.") from error


def _index(given: str, count: int) -> int:
    text = given.removeprefix(IDX_PREFIX)
    if not text.isdecimal() or int(text) >= count:
        raise InvalidRequestError(
            f"{given}: a number from 0 to {count - 1} is expected after idx:."
        )
    return int(text)


def _of_index(pair: idx_format.ImagesAndLabels, index: int) -> Question:
    batch = pair.images[index : index + 1]
    return Question(batch, [f"{IDX_PREFIX}{index}"], [int(pair.labels[index])])
