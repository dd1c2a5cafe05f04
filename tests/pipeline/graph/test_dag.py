"""The graph: what waits for what, and whose cache a change of code touches."""

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration.pipeline import Pipeline

from pipeline.graph import code_digest, dag
from pipeline.settings import pipeline_config


def _create() -> Pipeline:
    return dag.create_pipeline(pipeline_config.load(), dag.Places("/data", "/artifacts", "/serving"))


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
        "Trainer": {"Transform", "CuratedSchema"},
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


@pytest.mark.parametrize(
    ("module", "affected"),
    [
        ("trainer.model", {"Trainer"}),
        ("trainer.preprocessing", {"Trainer", "Transform"}),
        ("components.idx_format", {"IdxExampleGen"}),
        ("components.atomic_pusher", {"AtomicPusher"}),
        ("components.anomaly_gate", {"AnomalyGate"}),
        ("components.curated_schema", {"CuratedSchema"}),
        ("components.server_validator", {"ServerValidator"}),
        ("components.image_validator", {"ImageValidator"}),
        ("components.corruptions", {"CorruptedExamples"}),
        ("components.ingested", {"CorruptedExamples", "ImageValidator", "ServerValidator"}),
        ("serving.server.batching", {"ServerValidator"}),
        ("serving.client", {"ServerValidator"}),
        ("serving.version_folders", {"ServerValidator", "AtomicPusher"}),
        ("pipeline.cli", set()),
    ],
)
def test_an_edit_changes_the_cache_key_of_what_runs_it(
    module: str, affected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def properties() -> dict[str, Any]:
        return {
            node.id: {key: str(value) for key, value in node.exec_properties.items()}
            for node in _create().components
        }

    before = properties()
    read_bytes = Path.read_bytes
    edited = f"{module.replace('.', '/')}.py"
    monkeypatch.setattr(
        Path,
        "read_bytes",
        lambda path: read_bytes(path) + (b"# edited" if str(path).endswith(edited) else b""),
    )
    after = properties()
    changed = {node for node in before if before[node] != after[node]}
    assert changed == {*affected, "RunReport"}, "the report names the digest of all code"


def test_an_unchanged_graph_is_the_same_every_time() -> None:
    first, second = (
        [(node.id, dict(node.exec_properties)) for node in _create().components] for _ in range(2)
    )
    assert str(first) == str(second)


def test_a_digest_follows_the_content_of_every_module_in_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    whole, one = code_digest.of_modules("some_package"), code_digest.of_modules("some_package.a")
    (package / "b.py").touch()
    assert code_digest.of_modules("some_package") != whole
    assert code_digest.of_modules("some_package.a") == one
    (package / "a.py").write_text("x = 2")
    assert code_digest.of_modules("some_package.a") != one
    with pytest.raises(ModuleNotFoundError, match="some_package.c"):
        code_digest.of_modules("some_package.c")


def test_the_expectations_are_in_the_cache_key() -> None:
    (schema,) = (node for node in _create().components if node.id == "CuratedSchema")
    properties = schema.exec_properties
    assert "is_categorical: true" in properties["schema_text"]
    assert len(json.loads(properties["class_balance_json"])) == 10


def test_a_limit_that_is_only_reported_is_none() -> None:
    """DistributionValidator asks for a threshold: no two distributions are further apart than 1."""
    overrides = [
        f"validation.{name}=report"
        for name in ("max_share_change", "max_skew", "max_drift", "max_duplicates")
    ]
    settings = pipeline_config.load(overrides=[*overrides, "validation.min_label_agreement=report"])
    places = dag.Places("/data", "/artifacts", "/serving")
    nodes = {node.id: node for node in dag.create_pipeline(settings, places).components}
    for name in ("BalanceValidator", "SkewValidator", "DriftValidator"):
        compared = nodes[name].exec_properties["distribution_validator_config"]
        for feature in compared.default_slice_config.feature:
            (comparator,) = feature.distribution_comparator.ListFields()
            assert comparator[1].threshold == 1
    properties = nodes["ImageValidator"].exec_properties
    assert properties["max_duplicates"] == -1
    assert properties["min_label_agreement"] == 0
