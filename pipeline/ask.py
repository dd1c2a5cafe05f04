"""Asks a model server about images: digits of the test split, or files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components import idx_format
from pipeline import data as data_files
from pipeline.errors import DataError
from pipeline.events import Answer
from serving import images
from serving.client import Client
from serving.errors import InvalidRequestError

IDX_PREFIX = "idx:"


def ask_for_test_digits(client: Client, data: Path, count: int, seed: int) -> list[Answer]:
    """One request for each of `count` images of the test split, chosen by `seed`."""
    pair = _test_split(data)
    chosen = np.random.default_rng(seed).permutation(len(pair.images))[:count]
    return [_ask_for_index(client, pair, int(index)) for index in chosen]


def ask_for_inputs(
    inputs: Sequence[str], address: str, name: str, data_dir: Path | None, timeout_s: float
) -> list[Answer]:
    """One request for each input: a picture, a .npy array of images, or "idx:N".

    Args:
      inputs: what to ask about; "idx:N" is image N of the test split.
      address: the server's host and port.
      name: the model's name.
      data_dir: the folder of IDX files that "idx:N" counts in; None for the cached MNIST.
      timeout_s: the deadline of each request.

    Raises:
      ServingError: an input is not an image, or the server did not answer it.
      DataError: "idx:N" was asked for and there are no such files.
    """
    answers: list[Answer] = []
    with Client(address, name, timeout_s) as client:
        for given in inputs:
            if given.startswith(IDX_PREFIX):
                pair = _test_split(data_dir or data_files.cache_folder())
                answers.append(_ask_for_index(client, pair, _index(given, len(pair.images))))
            else:
                batch = images.read(Path(given))
                answers += _ask(client, batch, [given], [None])
    return answers


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


def _ask_for_index(client: Client, pair: idx_format.ImagesAndLabels, index: int) -> Answer:
    batch = pair.images[index : index + 1]
    (answer,) = _ask(client, batch, [f"{IDX_PREFIX}{index}"], [int(pair.labels[index])])
    return answer


def _ask(
    client: Client, batch: NDArray[np.generic], names: list[str], labels: Sequence[int | None]
) -> list[Answer]:
    prediction = client.predict(batch)
    if len(names) < len(batch):  # one file with several images
        names = [f"{names[0]}[{index}]" for index in range(len(batch))]
        labels = [None] * len(batch)
    return [
        Answer(
            image=name,
            label=label,
            prediction=int(digit),
            probability=float(row[digit]),
            latency_ms=prediction.latency_s * 1000,
            version=prediction.version,
        )
        for name, label, digit, row in zip(
            names, labels, prediction.digits, prediction.probabilities, strict=True
        )
    ]
