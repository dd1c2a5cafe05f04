"""Real exported models of untrained networks, without a pipeline run."""

from __future__ import annotations

from pathlib import Path

from trainer.hparams import Pooling


def write_transform_graph(folder: Path) -> None:
    """The transform graph of the real schema and preprocessing_fn, made as TFX's Transform does."""
    import tensorflow_transform as tft
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform import impl_helper
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from pipeline.settings import pipeline_config
    from trainer import preprocessing

    schema = text_format.Parse(pipeline_config.load().validation.schema_text, schema_pb2.Schema())
    raw_metadata = folder / tft.TFTransformOutput.RAW_METADATA_DIR
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), str(raw_metadata))
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    impl_helper.analyze_in_place(
        preprocessing.preprocessing_fn,
        force_tf_compat_v1=False,
        feature_specs=spec,
        type_specs=impl_helper.get_type_specs_from_feature_specs(spec),
        transform_output_path=str(folder),
    )


def export(folder: Path, transform_graph: str, seed: int, pooling: Pooling = "max") -> None:
    """The network with the initial weights of a seed, and all signatures."""
    import keras
    import tensorflow_transform as tft

    from trainer import hparams, model, signatures

    keras.utils.set_random_seed(seed)
    network = model.build_model(hparams.HyperParameters(pooling=pooling), steps=1)
    signatures.ServedModel(network, tft.TFTransformOutput(transform_graph)).export(str(folder))


def export_toy(folder: Path) -> None:
    """A model with features that MNIST's lacks: two inputs, text, bytes, Regress, a variable
    batch.
    """
    import tensorflow as tf

    class Toy(tf.Module):  # type: ignore[misc]
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, "a"),
                tf.TensorSpec([None], tf.float32, "b"),
            ]
        )
        def add(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"total": a + b, "is_large": a + b > 10, "rows": tf.range(tf.size(a))}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
        def length(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            spec = {"text": tf.io.FixedLenFeature([], tf.string, "")}
            text = tf.io.parse_example(inputs, spec)["text"]
            return {"outputs": tf.cast(tf.strings.length(text), tf.float32)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def double(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"double": text + text, "double_bytes": text + text}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "numbers")])
        def total(self, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"sum": tf.reduce_sum(numbers)}

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, "x")])
        def half_plus_two(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 0.5 * x + 2.0}

    toy = Toy()
    names = {"serving_default": toy.add, "regress": toy.length, "length": toy.length}
    names |= {"double": toy.double, "total": toy.total, "half_plus_two": toy.half_plus_two}
    signatures = {name: f.get_concrete_function() for name, f in names.items()}
    tf.saved_model.save(toy, str(folder), signatures)
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    updater.replace_method_name("regress", tf.saved_model.REGRESS_METHOD_NAME, tags=["serve"])
    updater.save()
