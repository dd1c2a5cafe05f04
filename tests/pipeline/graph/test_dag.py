"""The graph: which node depends on which, and the parameters of the nodes."""

import json

from tfx.orchestration.pipeline import Pipeline

from components.names.node_ids import NodeId
from pipeline.graph import dag
from pipeline.settings import pipeline_config


def _create() -> Pipeline:
    folders = dag.Folders("/data", "/artifacts", "/serving")
    return dag.create_pipeline(pipeline_config.load(), folders)


def test_the_nodes_and_what_they_wait_for() -> None:
    upstream = {
        node.id: {other.id for other in node.upstream_nodes} for node in _create().components
    }
    validators = {
        "ExampleValidator",
        "BalanceValidator",
        "SkewValidator",
        "DriftValidator",
        "ImageValidator",
    }
    assert upstream == {
        "IdxExampleGen": set(),
        "CuratedSchema": set(),
        "StatisticsGen": {"IdxExampleGen", "CuratedSchema"},
        "AcceptedSpans": {"IdxExampleGen", "StatisticsGen"},
        "ExampleValidator": {"StatisticsGen", "CuratedSchema"},
        "BalanceValidator": {"StatisticsGen", "CuratedSchema"},
        "SkewValidator": {"StatisticsGen"},
        "DriftValidator": {"StatisticsGen", "AcceptedSpans"},
        "ImageValidator": {"IdxExampleGen", "AcceptedSpans"},
        "AnomalyGate": {"IdxExampleGen", "StatisticsGen", *validators},
        "Transform": {"AcceptedSpans", "CuratedSchema", "AnomalyGate"},
        "Trainer": {"Transform", "AcceptedSpans", "CuratedSchema"},
        "ChampionResolver": {"Trainer"},
        "CorruptedExamples": {"IdxExampleGen", "AnomalyGate"},
        "Evaluator": {"CorruptedExamples", "Trainer", "ChampionResolver"},
        "RunReport": {
            "IdxExampleGen",
            "StatisticsGen",
            "AcceptedSpans",
            *validators,
            "Trainer",
            "Evaluator",
        },
        "ServerValidator": {"IdxExampleGen", "Trainer"},
        "AtomicPusher": {"Trainer", "Evaluator", "ServerValidator"},
    }


def test_an_unchanged_graph_is_the_same_every_time() -> None:
    first, second = (
        [(node.id, dict(node.exec_properties)) for node in _create().components] for _ in range(2)
    )
    assert str(first) == str(second)


def test_the_ids_of_the_nodes_are_those_of_the_enumeration() -> None:
    assert {node.id for node in _create().components} == set(NodeId)


def test_the_expectations_are_in_the_cache_key() -> None:
    (schema,) = (node for node in _create().components if node.id == "CuratedSchema")
    properties = schema.exec_properties
    assert "is_categorical: true" in properties["schema_text"]
    assert len(json.loads(properties["class_balance_json"])) == 10


def test_report_sets_no_limit() -> None:
    """DistributionValidator requires a threshold; two distributions differ by 1 at most."""
    overrides = [
        f"validation.{name}=report"
        for name in ("max_share_change", "max_skew", "max_drift", "max_duplicates")
    ]
    settings = pipeline_config.load(overrides=[*overrides, "validation.min_label_agreement=report"])
    places = dag.Folders("/data", "/artifacts", "/serving")
    nodes = {node.id: node for node in dag.create_pipeline(settings, places).components}
    for name in ("BalanceValidator", "SkewValidator", "DriftValidator"):
        compared = nodes[name].exec_properties["distribution_validator_config"]
        for feature in compared.default_slice_config.feature:
            (comparator,) = feature.distribution_comparator.ListFields()
            assert comparator[1].threshold == 1
    properties = nodes["ImageValidator"].exec_properties
    assert properties["max_duplicates"] == -1
    assert properties["min_label_agreement"] == 0
