"""Prometheus metrics, with TF Serving's names, labels and buckets."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"
CONTENT_TYPE: Final = prometheus_client.CONTENT_TYPE_LATEST
GRPC, REST = "GRPC", "REST"  # entry points

_COUNT: Final = ":tensorflow:serving:request_count"
_LATENCY: Final = ":tensorflow:serving:request_latency"
_BUCKETS_US: Final = [10 * 1.8**power for power in range(33)]  # up to 20 minutes


class Metrics:
    """Counts requests. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            _LATENCY,
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS_US,
            registry=self._registry,
        )
        # Not a prometheus_client.Counter, which adds _total to its name.
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def record(self, model: str, api: str, entry_point: str, status: str, seconds: float) -> None:
        """Counts one request.

        Args:
          model: the model's name; empty for a model that is not served, so that clients cannot
            fill the memory with names.
          api: Predict, Classify, ...
          entry_point: GRPC or REST.
          status: the name of a gRPC status code, such as OK.
          seconds: the duration.
        """
        with self._lock:
            self._counts[model, status] += 1
        self._latency.labels(model, api, entry_point).observe(seconds * 1e6)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        lines = [f"# HELP {_COUNT} The total number of requests.", f"# TYPE {_COUNT} counter"]
        with self._lock:
            counts = sorted(self._counts.items())
        for (model, status), count in counts:
            name = _escaped(model)
            lines.append(f'{_COUNT}{{model_name="{name}",status="{status}"}} {count}')
        return "\n".join(lines).encode() + b"\n" + prometheus_client.generate_latest(self._registry)


def _escaped(value: str) -> str:
    """The value of a label, as Prometheus' text format requires it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
