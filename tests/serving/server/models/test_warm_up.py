"""The warm-up requests of a version run before it is served."""

from pathlib import Path

import numpy as np
import pytest
from doubles import artifacts
from doubles.model_server import predict_request
from tensorflow_serving.apis import prediction_log_pb2

from components import server_validator
from components.images import example_split
from components.images.idx_format import ImagesAndLabels
from serving import warm_up_file
from serving.errors import InvalidRequestError, ModelLoadError
from serving.server.models import warm_up
from serving.server.models.saved_model import LoadedModel, Signature, load
from trainer import features


@pytest.fixture(scope="module")
def model(exported_model: Path) -> LoadedModel:
    return load(exported_model, 1)


def _record(images: np.ndarray) -> prediction_log_pb2.PredictionLog:
    record = prediction_log_pb2.PredictionLog()
    record.predict_log.request.CopyFrom(predict_request("mnist", images))
    return record


def test_the_warm_up_file_runs_every_signature(
    tmp_path: Path,
    model: LoadedModel,
    test_digits: ImagesAndLabels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = []
    run = Signature.run
    monkeypatch.setattr(
        Signature,
        "run",
        lambda self, inputs: ran.append(self.name) or run(self, inputs),  # type: ignore[func-returns-value]
    )
    examples = artifacts.examples(tmp_path / "examples", {"test": test_digits})
    sample = example_split.read(examples, "test").take(np.arange(40))
    warm_up_file.write(tmp_path / warm_up_file.PATH, server_validator.warm_up_records(sample))
    warm_up.run(model, tmp_path)
    assert set(ran) == set(model.signatures) - {features.FEATURE_MAPS}, "which only the demo asks"


def test_without_a_file_nothing_is_run(tmp_path: Path, model: LoadedModel) -> None:
    warm_up.run(model, tmp_path)


def test_a_request_that_cannot_be_answered_is_a_load_error(
    tmp_path: Path, model: LoadedModel
) -> None:
    record = _record(np.zeros((1, 28, 28), np.uint8))
    record.predict_log.request.model_spec.signature_name = "gone"
    warm_up_file.write(tmp_path / warm_up_file.PATH, [record])
    with pytest.raises(ModelLoadError, match='Serving signature key "gone" not found'):
        warm_up.run(model, tmp_path)


@pytest.mark.parametrize("damage", [b"8 bytes.", b"a longer text than the head of a record"])
def test_garbage_after_the_records_is_an_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / warm_up_file.PATH
    for records in ([], [_record(np.zeros((1, 28, 28), np.uint8))]):
        warm_up_file.write(path, records)
        assert len(list(warm_up_file.read(path))) == len(records)
        path.write_bytes(path.read_bytes() + damage)
        with pytest.raises(InvalidRequestError, match="it is not a TFRecord file of Prediction"):
            list(warm_up_file.read(path))


def test_a_thousand_records_are_allowed_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / warm_up_file.PATH
    record = _record(np.zeros((1, 28, 28), np.uint8))
    warm_up_file.write(path, [record] * 1000)
    assert len(list(warm_up_file.read(path))) == 1000
    warm_up_file.write(path, [record] * 1001)
    with pytest.raises(InvalidRequestError, match="more than 1000 records"):
        list(warm_up_file.read(path))
