"""The Flink cluster, which the tests of this folder start themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flink import flink_cluster
from flink.flink_cluster import FlinkCluster


@pytest.fixture(scope="module")
def flink(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FlinkCluster]:
    """A running cluster."""
    if not request.config.getoption("--flink"):
        pytest.skip("not asked for: make test-flink starts Flink and runs these")
    with FlinkCluster(tmp_path_factory.mktemp("flink"), flink_cluster.jars()) as cluster:
        yield cluster
