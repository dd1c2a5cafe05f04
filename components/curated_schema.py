"""CuratedSchema: the project's reviewed expectations of the data, as artifacts of the run.

Nothing is inferred from the data at run time: a schema inferred from bad data accepts it. The
outputs are the schema, for ExampleValidator, and a baseline with the expected share of each
class, for DistributionValidator.

The expectations are parameters, not paths. They are part of the cache key, so that an edit is
noticed (TFX's ImportSchemaGen uses the path alone); they are recorded in the metadata store; and
a container needs no file for them.
"""

# No `from __future__ import annotations`: the decorator reads the annotations as objects.

import json
import posixpath
from collections.abc import Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.names.splits import SPLITS
from trainer import features

SCHEMA_FILE = "schema.pbtxt"
STATISTICS_FILE = "FeatureStats.pb"  # the name that TFX's readers expect
_NOMINAL_COUNT = 1_000_000  # shares are converted to counts of this many examples


@component
def CuratedSchema(
    schema_text: Parameter[str],
    class_balance_json: Parameter[str],
    code_digest: Parameter[str],
    schema: OutputArtifact[standard_artifacts.Schema],
    baseline: OutputArtifact[standard_artifacts.ExampleStatistics],
) -> None:
    """Writes the schema and the baseline.

    Args:
      schema_text: a tensorflow.metadata.v0.Schema in text format.
      class_balance_json: the expected share of each class, in order, as a JSON list.
      code_digest: the digest of this component's code.
      schema: the schema, as `schema.pbtxt`.
      baseline: statistics of the label only, the same for every split.
    """
    io_utils.write_string_file(posixpath.join(schema.uri, SCHEMA_FILE), schema_text)
    statistics = class_balance_statistics(json.loads(class_balance_json))
    baseline.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for split in SPLITS:
        folder = artifact_utils.get_split_uri([baseline], split)
        fileio.makedirs(folder)
        tfdv.write_stats_text(statistics, posixpath.join(folder, "readable.pbtxt"))
        content = statistics.SerializeToString(deterministic=True)
        io_utils.write_bytes_file(posixpath.join(folder, STATISTICS_FILE), content)


def class_balance_statistics(
    shares: Sequence[float],
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """TFDV's statistics of a label whose classes 0, 1, ... have these shares."""
    counts = [round(share * _NOMINAL_COUNT) for share in shares]
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=sum(counts))
    feature = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.INT)
    feature.path.step.append(features.LABEL)
    common = feature.string_stats.common_stats
    common.num_non_missing = common.tot_num_values = sum(counts)
    common.min_num_values = common.max_num_values = 1
    common.avg_num_values = 1.0
    feature.string_stats.unique = len(counts)
    for rank, (label, count) in enumerate(sorted(enumerate(counts), key=lambda pair: -pair[1])):
        feature.string_stats.rank_histogram.buckets.add(
            low_rank=rank, high_rank=rank, label=str(label), sample_count=count
        )
        if rank < 3:
            feature.string_stats.top_values.add(value=str(label), frequency=count)
    return statistics
