"""ServerValidator: asks a real model server about the candidate before the push.

A server may load a model differently than the process that trained it, may not load it at all,
or may answer too slowly. TFX's InfraValidator checks only whether the model loads, and needs
Docker or Kubernetes. This component uses whichever server the machine has
(`serving/launcher.py`), and compares the answers.

The blessed artifact contains a copy of the model with a warm-up file; AtomicPusher pushes that
copy.
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from absl import logging
from numpy.typing import NDArray
from tensorflow_serving.apis import classification_pb2, input_pb2, prediction_log_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from components.images import example_split
from components.images.example_split import ExampleSplit
from components.names.artifact_properties import (
    BLESSED,
    HAS_MODEL,
    LATENCY_P99_MS,
    MODEL_ID,
    REASON,
    SERVER,
)
from components.names.splits import TEST
from serving import launcher, warm_up_file
from serving.client import Client, predictions
from serving.errors import ServingError
from serving.launcher import ServerKind
from trainer import features

ANY_SERVER: Final = "auto"
TOLERANCE: Final = 1e-4
"""The allowed absolute difference of a probability: kernels differ between servers."""

_MODEL: Final = "candidate"
_VERSION: Final = 1
_BATCH: Final = 32  # images in the largest warm-up request
_UNTIMED_REQUESTS: Final = 3  # sent first, and not measured
_LATENCY_ROUNDS: Final = 3  # a busy machine answers late for a while; a slow model always does
_READY_TIMEOUT_S: Final = 180.0
_LOG: Final = "server.txt"
_BLESSED_FILE, _NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"


@component
def ServerValidator(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    requests: Parameter[int],
    max_latency_ms: Parameter[float],
    server: Parameter[str],
    code_digest: Parameter[str],
) -> None:
    """Blesses the model, or records why not.

    Args:
      model: the candidate.
      examples: as ingested; images of the split `test` are sent.
      blessing: whether a server answers as the model does, and a copy of the model with a
        warm-up file. If the server failed, its log, `server.txt`.
      requests: the number of images to send, one in each request.
      max_latency_ms: the maximum of the 99th percentile of their latencies.
      server: a launcher.ServerKind, or ANY_SERVER.
      code_digest: the digest of this component's code.
    """
    source = path_utils.serving_model_path(model.uri)
    sample = choose(example_split.read(examples, TEST), requests)
    with tempfile.TemporaryDirectory(prefix="server-validator-") as scratch:
        base_path = Path(scratch) / _MODEL
        version = base_path / str(_VERSION)
        io_utils.copy_dir(source, str(version))
        try:
            warm_up_file.write(version / warm_up_file.PATH, warm_up_records(sample))
            kind = None if server == ANY_SERVER else ServerKind(server)
            used, p99_ms = ask(base_path, sample, max_latency_ms, kind)
            blessing.set_string_custom_property(SERVER, used)
            blessing.set_float_custom_property(LATENCY_P99_MS, p99_ms)
            reason = _too_slow(used, p99_ms, max_latency_ms) if p99_ms > max_latency_ms else ""
        except ServingError as error:
            log, kept = _log_of(base_path), posixpath.join(blessing.uri, _LOG)
            reason = " ".join(str(error).split()).replace(str(log), kept)
            if log.exists():  # it does not if the server's program is missing
                fileio.makedirs(blessing.uri)
                fileio.copy(str(log), kept)
        if not reason:
            io_utils.copy_dir(str(version), path_utils.stamped_model_path(blessing.uri))
    blessing.set_int_custom_property(BLESSED, int(not reason))
    blessing.set_int_custom_property(HAS_MODEL, int(not reason))
    blessing.set_int_custom_property(MODEL_ID, model.id)
    blessing.set_string_custom_property(REASON, reason)
    name = _NOT_BLESSED_FILE if reason else _BLESSED_FILE
    fileio.makedirs(blessing.uri)
    io_utils.write_string_file(posixpath.join(blessing.uri, name), reason)
    logging.info("The model is %s", f"not blessed: {reason}" if reason else "blessed.")


def choose(split: ExampleSplit, count: int) -> ExampleSplit:
    """`count` examples, evenly spaced."""
    places = np.linspace(0, len(split.records) - 1, min(count, len(split.records)))
    return split.take(places.astype(int))


def evaluate(model: Path, sample: ExampleSplit) -> NDArray[np.float32]:
    """The model's own probabilities, through the Evaluator's signature; float32 [count, 10]."""
    module = tf.saved_model.load(str(model))
    signature = module.signatures[features.SERVING_DEFAULT]
    outputs = signature(**{features.EXAMPLES: tf.constant(sample.records)})
    probabilities: NDArray[np.float32] = outputs[features.PROBABILITIES].numpy()
    return probabilities


def ask(
    base_path: Path,
    sample: ExampleSplit,
    max_latency_ms: float,
    kind: ServerKind | None,
) -> tuple[ServerKind, float]:
    """Compares a server's answers with the model's own; again if the answers were too late.

    Args:
      base_path: the folder with the model as its only version.
      sample: the images to send.
      max_latency_ms: the maximum of the 99th percentile of the latencies.
      kind: the server to start; None for the first that the machine has.

    Returns:
      The server, and the 99th percentile of the latency in ms, of the fastest round.

    Raises:
      ServingError: the server does not start, does not load the model, or gives other
        probabilities.
    """
    with (
        # A model that fails to load is rejected at once; TF Serving would retry for minutes.
        launcher.running(
            _MODEL, base_path, _log_of(base_path), flags=["--max_num_load_retries=0"], kind=kind
        ) as server,
        Client(server.address, _MODEL) as client,
    ):
        expected = evaluate(base_path / str(_VERSION), sample)  # while the server starts
        client.wait_until_ready(_VERSION, _READY_TIMEOUT_S, server.check, fail_fast=True)
        for image in sample.images[:_UNTIMED_REQUESTS]:
            client.predict(image[np.newaxis])
        p99_ms = min(_measure(client, sample, expected, server.kind, max_latency_ms))
        batch = client.predict(sample.images)
        for row, index, right in zip(batch.probabilities, sample.indices, expected, strict=True):
            _compare(row, right, int(index), server.kind)
    return server.kind, p99_ms


def _log_of(base_path: Path) -> Path:
    return base_path.parent / _LOG


def _too_slow(kind: ServerKind, p99_ms: float, max_latency_ms: float) -> str:
    return (
        f"the 99th percentile of the latency of the {kind} server is {p99_ms:.1f} ms, the best of "
        f"{_LATENCY_ROUNDS} rounds; the maximum is {max_latency_ms:g} ms"
    )


def _measure(
    client: Client,
    sample: ExampleSplit,
    expected: NDArray[np.float32],
    kind: str,
    max_latency_ms: float,
) -> Iterator[float]:
    """The 99th percentile of the latency, in ms, of each round up to one that is fast enough."""
    for number in range(1, _LATENCY_ROUNDS + 1):
        latencies_ms = []
        for image, index, right in zip(sample.images, sample.indices, expected, strict=True):
            answer = client.predict(image[np.newaxis])
            latencies_ms.append(1000 * answer.latency_s)
            _compare(answer.probabilities[0], right, int(index), kind)
        p99_ms = float(np.percentile(latencies_ms, 99))
        logging.info(
            "%s: 99th percentile of the latency in round %d: %.1f ms", kind, number, p99_ms
        )
        yield p99_ms
        if p99_ms <= max_latency_ms:
            return


def warm_up_records(sample: ExampleSplit) -> Iterator[prediction_log_pb2.PredictionLog]:
    """One request for each signature, and one with a batch."""
    images = sample.images
    for batch in (images[:1], images[:1] / features.WHITE, images[:_BATCH]):
        record = prediction_log_pb2.PredictionLog()
        # A server ignores the model's name: the file is in the model's own folder.
        request = predictions.predict_request(_MODEL, batch)
        record.predict_log.request.MergeFromString(request.SerializeToString())
        yield record
    record = prediction_log_pb2.PredictionLog()
    record.predict_log.request.model_spec.name = _MODEL
    examples = tf.make_tensor_proto(sample.records[:1], tf.string)
    record.predict_log.request.inputs[features.EXAMPLES].CopyFrom(examples)
    yield record
    given = input_pb2.Input()
    given.example_list.examples.append(tf.train.Example.FromString(sample.records[0]))
    classify = classification_pb2.ClassificationRequest(input=given)
    classify.model_spec.name = _MODEL
    classify.model_spec.signature_name = features.CLASSIFY
    yield prediction_log_pb2.PredictionLog(
        classify_log=prediction_log_pb2.ClassifyLog(request=classify)
    )


def _compare(found: NDArray[np.float32], right: NDArray[np.float32], index: int, kind: str) -> None:
    if found.shape == right.shape and np.allclose(found, right, rtol=0, atol=TOLERANCE):
        return
    raise ServingError(
        f"for test image {index} the {kind} server answers {_top(found)}; the evaluated model "
        f"answers {_top(right)}"
    )


def _top(probabilities: NDArray[np.float32]) -> str:
    if probabilities.shape != (features.NUM_CLASSES,) or not np.isfinite(probabilities).all():
        return f"{probabilities.tolist()}"
    digit = int(probabilities.argmax())
    return f"{features.CLASS_NAMES[digit]} with probability {probabilities[digit]:.4f}"
