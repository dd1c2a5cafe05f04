"""The reviewed expectations: they parse, and the baseline contains the given values."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components import curated_schema
from pipeline.settings import pipeline_config
from trainer import features


@pytest.mark.parametrize("name", pipeline_config.shipped())
def test_every_shipped_schema_names_the_features_of_an_example(name: str) -> None:
    schema = text_format.Parse(
        pipeline_config.load(name).validation.schema_text, schema_pb2.Schema()
    )
    assert {feature.name for feature in schema.feature} == {
        features.INDEX,
        features.IMAGE,
        features.LABEL,
        features.IMAGE_HEIGHT_PX,
        features.IMAGE_WIDTH_PX,
        features.PIXEL_MEAN,
        features.PIXEL_MIN,
        features.PIXEL_MAX,
    }
    assert all(feature.presence.min_fraction == 1 for feature in schema.feature)


def test_the_baseline_has_the_given_share_of_each_class() -> None:
    shares = [0.5, 0.3, 0.2]
    statistics = curated_schema.class_balance_statistics(shares)
    (dataset,) = statistics.datasets
    (label,) = dataset.features
    assert label.type == statistics_pb2.FeatureNameStatistics.INT
    buckets = label.string_stats.rank_histogram.buckets
    assert [(bucket.label, bucket.sample_count / dataset.num_examples) for bucket in buckets] == [
        ("0", 0.5),
        ("1", 0.3),
        ("2", 0.2),
    ]
