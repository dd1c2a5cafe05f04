"""Runs the warm-up requests of a version before it is served.

The first request of a kind takes a hundred times as long as the next, since the session creates
its kernels. `serving/warm_up_file.py` reads the requests.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tensorflow_serving.apis import prediction_log_pb2

from serving import warm_up_file
from serving.errors import ModelLoadError, ServingError
from serving.server import inference
from serving.server.models.saved_model import LoadedModel

_log = logging.getLogger(__name__)


def run(model: LoadedModel, folder: Path, repetitions: int = 1) -> None:
    """Runs all warm-up requests of a version, if it has any; each `repetitions` times.

    Raises:
      ModelLoadError: the file cannot be read, is damaged or contains too many records, or a request
        fails.
    """
    path = folder / warm_up_file.PATH
    try:
        count = 0
        for record in warm_up_file.read(path):
            for _ in range(repetitions):
                _answer(model, record)
            count += 1
    except Exception as error:  # of any kind: versions that are older must still be loaded
        raise ModelLoadError(
            f"version {model.version}: the warm-up file {path}: {error}"
        ) from error
    if count:
        _log.info("version %d: ran %d warm-up requests", model.version, count)


def _answer(model: LoadedModel, record: prediction_log_pb2.PredictionLog) -> None:
    kind = record.WhichOneof("log_type")
    if kind == "predict_log":
        inference.predict(model, record.predict_log.request).run()
    elif kind == "classify_log":
        inference.classify(model, record.classify_log.request).run()
    elif kind == "regress_log":
        inference.regress(model, record.regress_log.request).run()
    elif kind == "multi_inference_log":
        for call in inference.multi_inference(model, record.multi_inference_log.request):
            call.run()
    else:
        raise ServingError(f"a record of kind {kind} is not supported.")
