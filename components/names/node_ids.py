"""The ids of the graph's nodes. Standard library only, so that every module can import them."""

from __future__ import annotations

from enum import StrEnum


class NodeId(StrEnum):
    """One node of the graph; its value is the name in ML Metadata, in logs and on the screen."""

    IDX_EXAMPLE_GEN = "IdxExampleGen"
    CURATED_SCHEMA = "CuratedSchema"
    STATISTICS_GEN = "StatisticsGen"
    ACCEPTED_SPANS = "AcceptedSpans"
    EXAMPLE_VALIDATOR = "ExampleValidator"
    BALANCE_VALIDATOR = "BalanceValidator"
    SKEW_VALIDATOR = "SkewValidator"
    DRIFT_VALIDATOR = "DriftValidator"
    IMAGE_VALIDATOR = "ImageValidator"
    ANOMALY_GATE = "AnomalyGate"
    TRANSFORM = "Transform"
    TRAINER = "Trainer"
    CHAMPION_RESOLVER = "ChampionResolver"
    CORRUPTED_EXAMPLES = "CorruptedExamples"
    EVALUATOR = "Evaluator"
    RUN_REPORT = "RunReport"
    SERVER_VALIDATOR = "ServerValidator"
    ATOMIC_PUSHER = "AtomicPusher"
