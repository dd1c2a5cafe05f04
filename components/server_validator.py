"""ServerValidator: asks a real model server about the candidate, before it is pushed.

What a model says in the process that trained it is one thing, what a server says another:
TF Serving may load it otherwise, or not at all, or answer too slowly. TFX's InfraValidator
asks only whether it loads, and needs Docker or Kubernetes for it. This one takes whichever
server the machine has (serving/launcher.py), and compares the answers.

What is blessed is a copy of the model with a warm-up file in it: AtomicPusher pushes that.
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
from tensorflow_serving.apis import (
    classification_pb2,
    input_pb2,
    predict_pb2,
    prediction_log_pb2,
)
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from components import ingested
from serving import codec, launcher, warm_up_file
from serving.client import Client
from serving.errors import ServingError
from serving.launcher import ServerKind
from trainer import features

# Custom properties of the InfraBlessing artifact. The first two are TFX's.
BLESSED: Final = "blessed"  # 1 or 0
HAS_MODEL: Final = "has_model"  # 1: the model to push is in the artifact's folder
REASON: Final = "reason"  # why it was not blessed, in one sentence
MODEL_ID: Final = "model_id"  # the id of the Model artifact

ANY_SERVER: Final = "auto"
TOLERANCE: Final = 1e-4
"""How far a probability may be from the evaluated model's: another server has other kernels."""

_TEST: Final = "test"
_MODEL: Final = "candidate"
_VERSION: Final = 1
_BATCH: Final = 32  # images in the largest warm-up request
_WARM_UP_REQUESTS: Final = 3  # that are asked, and not measured
_READY_TIMEOUT_S: Final = 180.0
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
    """Blesses the model, or says why not.

    Args:
      model: the candidate.
      examples: as ingested; the split `test` is asked about.
      blessing: whether a server answers as the model does, and a copy of the model with a
        warm-up file.
      requests: how many images are asked about, one a request.
      max_latency_ms: how long 99 of 100 of these may take at most.
      server: a launcher.ServerKind, or ANY_SERVER.
      code_digest: identifies the code, see `IdxExampleGen`.
    """
    source = path_utils.serving_model_path(model.uri)
    sample = choose(ingested.read(examples, _TEST), requests)
    with tempfile.TemporaryDirectory(prefix="server-validator-") as scratch:
        base_path = Path(scratch) / _MODEL
        version = base_path / str(_VERSION)
        io_utils.copy_dir(source, str(version))
        try:
            warm_up_file.write(version / warm_up_file.PATH, warm_up_records(sample))
            expected = evaluate(version, sample)
            kind = None if server == ANY_SERVER else ServerKind(server)
            check(base_path, sample, expected, max_latency_ms, kind)
            reason = ""
        except ServingError as error:
            reason = " ".join(str(error).split())
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


def choose(split: ingested.Split, count: int) -> ingested.Split:
    """`count` examples, evenly spaced."""
    places = np.linspace(0, len(split.records) - 1, min(count, len(split.records)))
    return split.take(places.astype(int))


def evaluate(model: Path, sample: ingested.Split) -> NDArray[np.float32]:
    """What the model itself says, in the way that the Evaluator asks it; float32 [count, 10]."""
    module = tf.saved_model.load(str(model))
    signature = module.signatures[features.SERVING_DEFAULT]
    outputs = signature(**{features.EXAMPLES: tf.constant(sample.records)})
    probabilities: NDArray[np.float32] = outputs[features.PROBABILITIES].numpy()
    return probabilities


def check(
    base_path: Path,
    sample: ingested.Split,
    expected: NDArray[np.float32],
    max_latency_ms: float,
    kind: ServerKind | None,
) -> None:
    """Starts a server on the model, and asks it about each image.

    Args:
      base_path: the folder with the model as its only version.
      sample: what to ask about.
      expected: the probabilities that are right, float32 [count, 10].
      max_latency_ms: how long 99 of 100 requests may take at most.
      kind: the server to start; None for the one that the machine has.

    Raises:
      ServingError: it does not start, does not load the model, says something else, or is slow.
    """
    log = base_path.parent / "server.txt"
    with (
        # What could not be loaded once is refused; TF Serving would try for minutes.
        launcher.running(
            _MODEL, base_path, log, flags=["--max_num_load_retries=0"], kind=kind
        ) as server,
        Client(server.address, _MODEL) as client,
    ):
        client.wait_until_ready(_VERSION, _READY_TIMEOUT_S, server.check, fail_fast=True)
        for image in sample.images[:_WARM_UP_REQUESTS]:
            client.predict(image[np.newaxis])
        latencies_ms = []
        for image, index, right in zip(sample.images, sample.indices, expected, strict=True):
            answer = client.predict(image[np.newaxis])
            latencies_ms.append(1000 * answer.latency_s)
            _compare(answer.probabilities[0], right, int(index), server.kind)
        together = client.predict(sample.images)
        for found, index, right in zip(
            together.probabilities, sample.indices, expected, strict=True
        ):
            _compare(found, right, int(index), server.kind)
    p99_ms = float(np.percentile(latencies_ms, 99))
    logging.info("%s: 99 of 100 requests took %.1f ms at most.", server.kind, p99_ms)
    if p99_ms > max_latency_ms:
        raise ServingError(
            f"99 of 100 requests to the {server.kind} server took up to {p99_ms:.1f} ms, and "
            f"{max_latency_ms:g} ms is allowed"
        )


def warm_up_records(sample: ingested.Split) -> Iterator[prediction_log_pb2.PredictionLog]:
    """One request for each signature, and one with a batch."""
    images = sample.images
    for batch in (images[:1], images[:1] / features.WHITE, images[:_BATCH]):
        record = prediction_log_pb2.PredictionLog()
        # The name of the model is not looked at: the file is in the model's own folder.
        record.predict_log.request.CopyFrom(codec.predict_request(_MODEL, batch))
        yield record
    examples = np.array(sample.records[:1], object)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = _MODEL
    codec.encode(examples, request.inputs[features.EXAMPLES])
    yield prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
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
        f"for test image {index} the {kind} server says {_top(found)}, and the evaluated model "
        f"says {_top(right)}"
    )


def _top(probabilities: NDArray[np.float32]) -> str:
    if probabilities.shape != (features.NUM_CLASSES,) or not np.isfinite(probabilities).all():
        return f"{probabilities.tolist()}"
    digit = int(probabilities.argmax())
    return f"{features.CLASS_NAMES[digit]} with {probabilities[digit]:.4f}"
