"""run_fn on real digits: it learns, it is reproducible, and it writes all its outputs."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from doubles import trainings
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.core.util import event_pb2
from tfx.components.trainer.fn_args_utils import FnArgs

from components.images.idx_format import ImagesAndLabels
from trainer import dataset, features, precision, preprocessing, run, training, training_cost
from trainer.hparams import HyperParameters
from trainer.workers import processes


def _run(folder: Path, training_files: dict[str, list[str]], graph: str, **hparams: Any) -> Path:
    recipe = HyperParameters(batch_size=16, dropout=0.1, schedule="one_cycle", **hparams)
    run.run_fn(
        FnArgs(
            train_files=training_files["train"],
            eval_files=training_files["eval"],
            transform_output=graph,
            serving_model_dir=str(folder / "model"),
            model_run_dir=str(folder / "run"),
            custom_config={run.HPARAMS: recipe.model_dump_json()},
        )
    )
    return folder


def _tags(folder: Path) -> dict[str, list[int]]:
    """The steps of each of TensorBoard's tags."""
    found: dict[str, list[int]] = {}
    for path in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def test_the_order_of_the_patterns_is_kept(
    tmp_path: Path, transform_graph: str, test_digits: ImagesAndLabels
) -> None:
    """They are those of the spans. As text, "9" sorts after "10"."""
    patterns = []
    for folder, label in (("9", 1), ("10", 2)):
        (tmp_path / folder).mkdir()
        labels = np.full(len(test_digits.labels), label, np.uint8)
        path = tmp_path / folder / "data.gz"
        trainings.write(path, ImagesAndLabels(test_digits.images, labels), range(3))
        patterns.append(str(path.with_name("*")))
    split = dataset.load(patterns, tft.TFTransformOutput(transform_graph))
    assert split.labels.tolist() == [1, 1, 1, 2, 2, 2]


def test_a_split_has_the_order_of_its_files_and_the_images_that_the_model_serves(
    training_files: dict[str, list[str]], transform_graph: str, test_digits: ImagesAndLabels
) -> None:
    split = dataset.load(training_files["eval"], tft.TFTransformOutput(transform_graph))
    chosen = np.random.default_rng(5).permutation(300)[240:]
    np.testing.assert_array_equal(split.labels, test_digits.labels[chosen])
    served = tf.function(preprocessing.scale_pixels)(test_digits.images[chosen])
    np.testing.assert_array_equal(split.images, served)


def test_a_sample_depends_on_the_seed_and_has_no_repeats() -> None:
    split = dataset.Split(np.zeros((50, 28, 28, 1), np.float32), np.arange(50))
    sample = split.sample(20, seed=3)
    assert len(set(sample.labels.tolist())) == 20
    np.testing.assert_array_equal(sample.labels, split.sample(20, seed=3).labels)
    assert sample.labels.tolist() != split.sample(20, seed=4).labels.tolist()
    assert len(split.sample(99, seed=3).labels) == 50


def test_training_reduces_the_loss_and_logs_it(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    caplog: pytest.LogCaptureFixture,
    test_digits: ImagesAndLabels,
) -> None:
    with caplog.at_level(logging.INFO, logger="trainer.training"):
        folder = _run(tmp_path, training_files, transform_graph, epochs=6)
    module = tf.saved_model.load(str(folder / "model"))
    outputs = module.signatures[features.PREDICT_IMAGES](images=tf.constant(test_digits.images))
    accuracy = np.mean(outputs[features.PREDICTED_CLASS].numpy() == test_digits.labels)
    assert accuracy > 0.75
    assert "1,413,834" in (folder / "run" / "layers.txt").read_text()
    cost = json.loads((folder / "run" / training_cost.FILE).read_text())
    assert cost["images"] == 6 * 240
    assert cost["images_per_s"] == pytest.approx(cost["images"] / cost["seconds"])
    # 90 steps: one step in a window, and ten looks at held-out images besides the epochs' ends.
    for metric in ("loss", "accuracy", "learning_rate"):
        assert _tags(folder / "run" / "train")[metric] == list(range(1, 91))
    looks = sorted([*range(9, 91, 9), *range(15, 91, 15)])
    for metric in ("loss", "accuracy"):
        assert _tags(folder / "run" / "validation")[metric] == looks
    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert "1,413,834" in caplog.text, "the table of layers is in the log"
    progress = [event for event in events if event["kind"] == training.TRAINING]
    assert (progress[-1]["step"], progress[-1]["steps"]) == (90, 90)
    assert progress[-1]["loss"] < progress[0]["loss"]
    json.dumps(progress)  # plain numbers, which can be shown anywhere


def test_a_training_in_bfloat16_exports_a_float32_model(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    test_digits: ImagesAndLabels,
) -> None:
    folder = _run(tmp_path, training_files, transform_graph, epochs=2, precision="bfloat16")
    assert json.loads((folder / "run" / training_cost.FILE).read_text())["precision"] == "bfloat16"
    saved = (folder / "model" / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(saved).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    types = {value.type for node in nodes for value in node.attr.values() if value.type}
    assert types_pb2.DT_FLOAT in types
    assert types_pb2.DT_BFLOAT16 not in types
    module = tf.saved_model.load(str(folder / "model"))
    outputs = module.signatures[features.PREDICT_IMAGES](images=tf.constant(test_digits.images))
    accuracy = np.mean(outputs[features.PREDICTED_CLASS].numpy() == test_digits.labels)
    assert accuracy > 0.3


def test_the_processes_of_a_training_compute_in_the_same_type(
    tmp_path: Path,
    training_files: dict[str, list[str]],
    transform_graph: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs: list[training.Job] = []
    monkeypatch.setattr(processes, "train", jobs.append)
    recipe = {"distribution": "multi_worker", "precision": "auto"}
    _run(tmp_path, training_files, transform_graph, **recipe)
    assert jobs[0].hparams.precision == precision.resolve("auto")


@pytest.mark.parametrize("computed_in", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_weights(
    tmp_path: Path, training_files: dict[str, list[str]], transform_graph: str, computed_in: str
) -> None:
    recipe = {"epochs": 1, "train_images": 48, "precision": computed_in}
    weights = [
        trainings.weights(
            _run(tmp_path / name, training_files, transform_graph, seed=seed, **recipe)
        )
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
