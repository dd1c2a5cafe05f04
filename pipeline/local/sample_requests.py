"""Requests to a model server: test images, or files; and its answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.local import dataset_source
from pipeline.runs.events import Answer, Candidate
from pipeline.settings.errors import ConfigError, PipelineError
from serving import images
from serving.polarity import Polarity

if TYPE_CHECKING:
    from tfx.types.artifact import Artifact

    from serving.client import Client
    from serving.client.predictions import Prediction

IDX_PREFIX: Final = "idx:"
UNSURE_BELOW: Final = 0.8
"""An answer with a lower probability is marked: 5 % of 5,000 held-out digits of MNIST, with 84 % of
the mistakes among them (recipe of `quick`, two seeds)."""

_TOP: Final = 3
_MAX_DIGITS: Final = 18  # of an index


@dataclass(frozen=True)
class Sample:
    """The images of one request."""

    images: NDArray[np.generic]
    """[batch, 28, 28]"""

    names: Sequence[str]
    labels: Sequence[int | None]
    """The true digits, if known."""


def of_examples(examples: Artifact, count: int, seed: int) -> Iterator[Sample]:
    """`count` images of the ingested test split, chosen by `seed`; one in each sample."""
    from components.images import example_split  # imports TensorFlow and TFX
    from components.names.splits import TEST

    test = example_split.read(examples, TEST)
    chosen = test.take(np.random.default_rng(seed).permutation(len(test.labels))[:count])
    for image, label, index in zip(chosen.images, chosen.labels, chosen.indices, strict=True):
        yield Sample(image[np.newaxis], [f"{IDX_PREFIX}{index}"], [int(label)])


def read(inputs: Sequence[str], data_dir: Path | None, polarity: Polarity) -> list[Sample]:
    """A sample for each input: a picture, a .npy array of images, or "idx:N".

    Args:
      inputs: the inputs; "idx:N" is image N of the test split.
      data_dir: the folder of the IDX files for "idx:N"; None for the cached MNIST.
      polarity: the colours of ink and paper in pictures.

    Raises:
      ConfigError: an input is "idx:N" without such an image.
      InvalidRequestError: a file is not an image.
      DataError: an input is "idx:N", but there are no such files.
    """
    samples = []
    for given in inputs:
        if given.startswith(IDX_PREFIX):
            index = _index(given)
            pair = dataset_source.read_test_split(data_dir or dataset_source.cache_folder())
            if index >= len(pair.images):
                raise ConfigError(f"{given}: the last image is idx:{len(pair.images) - 1}.")
            label = int(pair.labels[index])
            samples.append(Sample(pair.images[index : index + 1], [given], [label]))
        else:
            batch = images.read(Path(given), polarity)
            numbered = [f"{given}[{index}]" for index in range(len(batch))]
            names = numbered if len(batch) > 1 else [given]
            samples.append(Sample(batch, names, [None] * len(batch)))
    return samples


def save(samples: Sequence[Sample], folder: Path) -> None:
    """Saves the images that are sent, as PNG files named after the inputs.

    Raises:
      PipelineError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for sample in samples:
            for image, name in zip(sample.images, sample.names, strict=True):
                file = re.sub(r"[^\w.-]+", "-", name).strip("-")
                images.write(image, folder / f"{file}.png")
    except OSError as error:
        raise PipelineError(f"cannot write to {folder} ({error.strerror}).") from error


def send(
    client: Client, sample: Sample, version: int | None = None, label: str | None = None
) -> list[Answer]:
    """One request; the arguments and errors are those of `Client.predict`."""
    return answers(sample, client.predict(sample.images, version, label))


def answers(sample: Sample, prediction: Prediction) -> list[Answer]:
    """A server's answer for each image of a sample."""
    rows = zip(sample.images, sample.names, sample.labels, prediction.probabilities, strict=True)
    return [
        _answer(image, name, known, probabilities, prediction)
        for image, name, known, probabilities in rows
    ]


def _answer(
    image: NDArray[np.generic],
    name: str,
    known: int | None,
    probabilities: NDArray[np.float32],
    prediction: Prediction,
) -> Answer:
    top = [
        Candidate(digit=int(digit), probability=float(probabilities[digit]))
        for digit in np.argsort(-probabilities)[:_TOP]
    ]
    remark: str = images.find_problem(image) or ""
    if not remark and top[0].probability < UNSURE_BELOW:
        others = ", ".join(f"{other.digit} {other.probability:.2f}" for other in top[1:])
        remark = f"unsure: {others}"
    return Answer(
        image=name,
        label=known,
        prediction=top[0].digit,
        probability=top[0].probability,
        top=tuple(top),
        latency_ms=prediction.latency_s * 1000,
        version=prediction.version,
        remark=remark,
    )


def _index(given: str) -> int:
    text = given.removeprefix(IDX_PREFIX)
    if not (text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise ConfigError(f"{given}: expected idx:N, such as idx:0.")
    return int(text)
