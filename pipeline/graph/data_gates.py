"""The data gates: five validators, and AnomalyGate, which stops the run if they find anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfx.components.distribution_validator.component import DistributionValidator
from tfx.components.example_validator.component import ExampleValidator
from tfx.dsl.components.base.base_node import BaseNode
from tfx.proto.distribution_validator_pb2 import DistributionValidatorConfig, FeatureComparator
from tfx.types.channel import BaseChannel

from components import image_validator
from components.accepted_spans import Spans
from components.anomaly_gate import AnomalyGate
from components.image_validator import ImageValidator
from components.names.node_ids import NodeId
from components.names.splits import EVAL, TEST, TRAIN
from components.validation.anomalies import Check
from pipeline.graph.code_digest import SourceTree
from pipeline.settings.pipeline_config import REPORT, Limit, ValidationConfig
from trainer import features

_COMPARED = (features.LABEL, features.PIXEL_MEAN)
_NO_LIMIT = 1.0  # the largest possible distance; DistributionValidator requires a threshold


class DataGates(NamedTuple):
    """The nodes, and the validators' results."""

    validators: list[BaseNode]
    gate: BaseNode
    anomalies: dict[Check, BaseChannel]


def create(
    limits: ValidationConfig,
    sources: SourceTree,
    examples: BaseChannel,
    statistics: BaseChannel,
    schema: BaseChannel,
    class_balance: BaseChannel,
    spans: Spans,
) -> DataGates:
    """Creates the nodes.

    Args:
      limits: the conditions for data.
      sources: the project's code, for cache keys.
      examples: the examples to validate.
      statistics: their statistics.
      schema: the reviewed schema.
      class_balance: the expected share of each class, as statistics.
      spans: the data that was accepted before.
    """
    validators = {
        Check.SCHEMA: ExampleValidator(statistics=statistics, schema=schema).with_id(
            NodeId.EXAMPLE_VALIDATOR
        ),
        Check.CLASS_BALANCE: DistributionValidator(
            statistics=statistics,
            baseline_statistics=class_balance,
            config=_compare([features.LABEL], infinity_norm=limits.max_share_change),
        ).with_id(NodeId.BALANCE_VALIDATOR),
        Check.SKEW: DistributionValidator(
            statistics=statistics,
            baseline_statistics=statistics,
            config=_compare(_COMPARED, jensen_shannon_divergence=limits.max_skew),
            include_split_pairs=[(EVAL, TRAIN), (TEST, TRAIN)],
        ).with_id(NodeId.SKEW_VALIDATOR),
        Check.DRIFT: DistributionValidator(
            statistics=statistics,
            baseline_statistics=spans.reference_statistics,
            config=_compare(_COMPARED, jensen_shannon_divergence=limits.max_drift),
        ).with_id(NodeId.DRIFT_VALIDATOR),
        Check.IMAGES: ImageValidator(
            examples=examples,
            window=spans.window,
            reference=spans.reference,
            max_duplicates=_limit_or(limits.max_duplicates, image_validator.NO_LIMIT),
            min_label_agreement=_limit_or(limits.min_label_agreement, 0.0),
            code_digest=sources.digest_of(ImageValidator.__module__),
        ).with_id(NodeId.IMAGE_VALIDATOR),
    }
    anomalies = {check: node.outputs["anomalies"] for check, node in validators.items()}
    gate = AnomalyGate(
        examples=examples,
        statistics=statistics,
        anomalies=anomalies,
        is_new_normal=limits.max_drift == REPORT,
        code_digest=sources.digest_of(AnomalyGate.__module__),
    ).with_id(NodeId.ANOMALY_GATE)
    return DataGates(list(validators.values()), gate, anomalies)


def _compare(of: Sequence[str], **comparator: Limit) -> DistributionValidatorConfig:
    """The maximum distance of the distributions of these features from those of a baseline."""
    thresholds = {
        name: {"threshold": _limit_or(limit, _NO_LIMIT)} for name, limit in comparator.items()
    }
    return DistributionValidatorConfig(
        default_slice_config={
            "feature": [
                FeatureComparator(path={"step": [name]}, distribution_comparator=thresholds)
                for name in of
            ]
        }
    )


def _limit_or(limit: Limit, no_limit: float) -> float:
    """The limit, or the value that stands for none."""
    return no_limit if limit == REPORT else limit
