"""Real exported models, without the minutes of a pipeline run: the network is not trained."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components import idx_format


def write_transform_graph(folder: Path, digits: idx_format.ImagesAndLabels) -> None:
    """Runs TensorFlow Transform on a few digits, with the real schema and preprocessing_fn."""
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from pipeline import config
    from trainer import features, preprocessing

    schema = text_format.Parse(config.load().validation.schema_text, schema_pb2.Schema())
    spec = {
        key: value
        for key, value in schema_utils.schema_as_feature_spec(schema).feature_spec.items()
        if key in (features.IMAGE, features.LABEL, features.INDEX)
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [
        {features.IMAGE: [image.tobytes()], features.LABEL: [int(label)], features.INDEX: [index]}
        for index, (image, label) in enumerate(zip(*digits, strict=True))
    ][:8]
    with tempfile.TemporaryDirectory() as scratch, tft_beam.Context(temp_dir=scratch):
        graph = (rows, metadata) | tft_beam.AnalyzeDataset(preprocessing.preprocessing_fn)
        graph | tft_beam.WriteTransformFn(str(folder))
    raw_metadata = folder / tft.TFTransformOutput.RAW_METADATA_DIR
    metadata_io.write_metadata(metadata, str(raw_metadata))


def export(folder: Path, transform_graph: str, seed: int) -> None:
    """The network with the initial weights of a seed, and all signatures."""
    import keras
    import tensorflow_transform as tft

    from trainer import hparams, model, signatures

    keras.utils.set_random_seed(seed)
    network = model.build_model(hparams.HyperParameters(), steps=1)
    signatures.ServedModel(network, tft.TFTransformOutput(transform_graph)).export(str(folder))
