"""The data gates: five validators, and the gate that stops a run on what they find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfx.components.distribution_validator.component import DistributionValidator
from tfx.components.example_validator.component import ExampleValidator
from tfx.dsl.components.base.base_node import BaseNode
from tfx.proto.distribution_validator_pb2 import DistributionValidatorConfig, FeatureComparator
from tfx.types.channel import BaseChannel

from components import anomaly_gate, image_validator
from components.accepted_spans import Spans
from components.anomaly_gate import AnomalyGate
from components.idx_example_gen import EVAL, TEST, TRAIN
from components.image_validator import ImageValidator
from pipeline import code_digest
from pipeline.config import REPORT, Limit, ValidationConfig
from trainer import features

_COMPARED = (features.LABEL, features.PIXEL_MEAN)
_NO_LIMIT = 1.0  # no two distributions are further apart; DistributionValidator asks for a limit


class DataGates(NamedTuple):
    """What a graph is given."""

    validators: list[BaseNode]
    gate: BaseNode
    anomalies: dict[str, BaseChannel]
    """What each validator found, by its name in words (components/anomaly_gate.py)."""


def create(
    limits: ValidationConfig,
    examples: BaseChannel,
    statistics: BaseChannel,
    schema: BaseChannel,
    class_balance: BaseChannel,
    spans: Spans,
) -> DataGates:
    """The nodes.

    Args:
      limits: what the data must be like.
      examples: what is judged.
      statistics: its statistics.
      schema: the reviewed schema.
      class_balance: the expected share of each class, as statistics.
      spans: what was accepted before.
    """
    validators = {
        anomaly_gate.SCHEMA: ExampleValidator(statistics=statistics, schema=schema),
        anomaly_gate.CLASS_BALANCE: DistributionValidator(
            statistics=statistics,
            baseline_statistics=class_balance,
            config=_compare([features.LABEL], infinity_norm=limits.max_share_change),
        ).with_id("BalanceValidator"),
        anomaly_gate.SKEW: DistributionValidator(
            statistics=statistics,
            baseline_statistics=statistics,
            config=_compare(_COMPARED, jensen_shannon_divergence=limits.max_skew),
            include_split_pairs=[(EVAL, TRAIN), (TEST, TRAIN)],
        ).with_id("SkewValidator"),
        anomaly_gate.DRIFT: DistributionValidator(
            statistics=statistics,
            baseline_statistics=spans.reference_statistics,
            config=_compare(_COMPARED, jensen_shannon_divergence=limits.max_drift),
        ).with_id("DriftValidator"),
        anomaly_gate.IMAGES: ImageValidator(
            examples=examples,
            window=spans.window,
            reference=spans.reference,
            max_duplicates=_or(limits.max_duplicates, image_validator.NO_LIMIT),
            min_label_agreement=_or(limits.min_label_agreement, 0.0),
            code_digest=code_digest.of_modules(
                "components.image_validator", "components.ingested", "trainer.features"
            ),
        ),
    }
    anomalies = {gate: node.outputs["anomalies"] for gate, node in validators.items()}
    gate = AnomalyGate(
        examples=examples,
        statistics=statistics,
        **{anomaly_gate.INPUTS[gate]: channel for gate, channel in anomalies.items()},
        is_new_normal=int(limits.max_drift == REPORT),
        code_digest=code_digest.of_modules("components.anomaly_gate"),
    )
    return DataGates(list(validators.values()), gate, anomalies)


def _compare(of: Sequence[str], **comparator: Limit) -> DistributionValidatorConfig:
    """How far the distributions of these features may be from a baseline's."""
    thresholds = {name: {"threshold": _or(limit, _NO_LIMIT)} for name, limit in comparator.items()}
    return DistributionValidatorConfig(
        default_slice_config={
            "feature": [
                FeatureComparator(path={"step": [name]}, distribution_comparator=thresholds)
                for name in of
            ]
        }
    )


def _or(limit: Limit, no_limit: float) -> float:
    """The limit, or what stands for none."""
    return no_limit if limit == REPORT else limit
