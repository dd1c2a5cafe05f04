"""Runs the requests that came with a version, before it is served.

A session builds its kernels at the first request of a kind, which takes a hundred times as
long as the next. TF Serving's file for it: serving/warm_up_file.py.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tensorflow_serving.apis import prediction_log_pb2

from serving import warm_up_file
from serving.errors import ModelLoadError, ServingError
from serving.server import inference
from serving.server.saved_model import LoadedModel

_log = logging.getLogger(__name__)


def run(model: LoadedModel, folder: Path) -> None:
    """Runs them all; nothing where the version has none.

    Raises:
      ModelLoadError: the file is damaged, has too many records, or one cannot be answered.
    """
    path = folder / warm_up_file.PATH
    try:
        count = 0
        for record in warm_up_file.read(path):
            _answer(model, record)
            count += 1
    except ServingError as error:
        raise ModelLoadError(
            f"version {model.version}: the warm-up file {path}: {error}"
        ) from error
    if count:
        _log.info("version %d: %d warm-up requests are done", model.version, count)


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
        raise ServingError(f"a record of the kind {kind} cannot be run.")
