"""Components with data and artifacts in a bucket of Google Cloud Storage."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from doubles import gcs_server
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.components.example_gen import utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components import atomic_pusher, curated_schema, idx_example_gen
from components.images import example_split, idx_pair
from components.images.idx_format import ImagesAndLabels
from components.names.splits import SPLITS
from components.validation import anomalies as recorded_anomalies
from components.validation.anomalies import Check


@pytest.fixture(scope="module", autouse=True)
def _bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("gcs")
    with (
        gcs_server.running(folder, "bucket") as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def data(digits: Path) -> str:
    folder = "gs://bucket/data"
    fileio.makedirs(folder)
    for path in digits.iterdir():
        fileio.copy(str(path), f"{folder}/{path.name}", overwrite=True)
    return folder


def test_idx_files_are_read(data: str, test_digits: ImagesAndLabels, tmp_path: Path) -> None:
    # TensorFlow's writer holds Python's lock, so it cannot write to a server in this process;
    # test_bucket_run.py writes to a bucket.
    idx_pair.ingest(data, "t10k-*", [idx_pair.Part(str(tmp_path / "Split-test"), 0, 1)])
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path)
    examples.split_names = artifact_utils.encode_split_names(["test"])
    found = example_split.read(examples, "test")
    assert found.labels.tolist() == test_digits.labels.tolist()
    assert np.array_equal(found.images, test_digits.images)


def test_the_fingerprint_is_that_of_the_same_files_on_a_disk(data: str, digits: Path) -> None:
    def fingerprint(folder: str) -> str:
        component = idx_example_gen.IdxExampleGen(folder, eval_fraction=0.25)
        driver = idx_example_gen.Driver(None)
        resolved = driver.resolve_exec_properties(dict(component.exec_properties), None, None)
        return str(resolved[utils.FINGERPRINT_PROPERTY_NAME])

    assert fingerprint(data) == fingerprint(str(digits))


def test_writes_the_schema_and_the_baseline() -> None:
    schema, baseline = standard_artifacts.Schema(), standard_artifacts.ExampleStatistics()
    schema.uri, baseline.uri = "gs://bucket/schema", "gs://bucket/baseline"
    for artifact in (schema, baseline):
        fileio.makedirs(artifact.uri)
    curated_schema.CuratedSchema.EXECUTOR_SPEC.executor_class().Do(
        {},
        {"schema": [schema], "baseline": [baseline]},
        {
            "schema_text": "# reviewed",
            "class_balance_json": json.dumps([0.5, 0.5]),
            "code_digest": "",
        },
    )
    assert io_utils.read_string_file(f"{schema.uri}/schema.pbtxt") == "# reviewed"
    for split in SPLITS:
        folder = artifact_utils.get_split_uri([baseline], split)
        content = io_utils.read_bytes_file(f"{folder}/{curated_schema.STATISTICS_FILE}")
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
        assert dataset.num_examples == 1_000_000


def test_a_validator_without_a_result_is_a_rejection() -> None:
    found = standard_artifacts.ExampleAnomalies()
    found.uri = "gs://bucket/empty"
    fileio.makedirs(found.uri)
    with pytest.raises(FileNotFoundError, match="contains no split with a SchemaDiff.pb"):
        list(recorded_anomalies.read(found, Check.SCHEMA))


def test_a_folder_whose_name_is_a_pattern_is_read(digits: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digits, tmp_path / "run[1]")
    digests = idx_pair.ingest(
        str(folder), "train-*", [idx_pair.Part(str(tmp_path / "train"), 0, 1)]
    )
    assert len(digests) == 2
    (file,) = (tmp_path / "train").iterdir()
    assert sum(1 for _ in tf.data.TFRecordDataset(str(file), "GZIP")) == 600


@pytest.mark.parametrize("folder", ["gs://bucket/anomalies", "gs://bucket/run[1]"])
def test_anomalies_are_read(folder: str) -> None:
    found = standard_artifacts.ExampleAnomalies()
    found.uri = folder
    text = 'anomaly_info { key: "label" value { reason { description: "value 12" } } }'
    anomalies = text_format.Parse(text, anomalies_pb2.Anomalies())
    for split in ("Split-train", "SplitPair-test_test"):
        path = f"{found.uri}/{split}/{recorded_anomalies.FILE}"
        io_utils.write_bytes_file(path, anomalies.SerializeToString())
    assert [str(anomaly) for anomaly in recorded_anomalies.read(found, Check.SCHEMA)] == [
        "schema: train, label: value 12",
        "schema: test, label: value 12",
    ]


def test_a_push_writes_the_graph_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "variables.data").write_bytes(b"weights" * 1000)
    written: list[str] = []
    copy = fileio.copy
    monkeypatch.setattr(fileio, "copy", lambda source, to: (written.append(to), copy(source, to)))  # type: ignore[func-returns-value]
    monkeypatch.setattr(atomic_pusher, "time", SimpleNamespace(time=lambda: 1000.5))
    first = atomic_pusher.push(str(tmp_path), "gs://bucket/serving/mnist")
    second = atomic_pusher.push(first, "gs://bucket/serving/mnist")
    assert [version.rpartition("/")[2] for version in (first, second)] == ["1000", "1001"]
    for version in (first, second):
        files = [path.removeprefix(version) for path in written if path.startswith(version)]
        assert files == ["/variables/variables.data", "/saved_model.pb"]
        assert fileio.open(f"{version}/saved_model.pb", "rb").read() == b"graph"
        assert fileio.open(f"{version}/variables/variables.data", "rb").read() == b"weights" * 1000
