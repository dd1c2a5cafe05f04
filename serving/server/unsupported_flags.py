"""TF Serving's flags that this server does not have: accepted without effect, or rejected.

A start script for TF Serving must either work here or fail with a reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

IGNORED: Final[Mapping[str, str]] = {
    "rest_api_num_threads": "the REST API runs in one event loop",
    "num_load_threads": "versions are loaded one after the other, beside the requests",
    "num_unload_threads": "a version is unloaded by the request that used it last",
    "grpc_max_threads": "gRPC runs in one event loop",
    "flush_filesystem_caches": "the system decides what it caches",
    "remove_unused_fields_from_bundle_metagraph": "it does not change the answers",
    "enable_grpc_healthcheck_service": "the health service is always on",
    "per_process_gpu_memory_fraction": "the server computes on the processor",
    "skip_initialize_tpu": "the server computes on the processor",
    "num_tflite_pools": "TensorFlow Lite models are not served",
    "num_tflite_interpreters_per_pool": "TensorFlow Lite models are not served",
}
"""The flags that have no effect, and why; the server warns once for each."""

REJECTED: Final[Mapping[str, str]] = {
    "use_alts_credentials": "ALTS exists on Google Cloud only; use --ssl_config_file",
    "platform_config_file": "use the flags for batching and sessions",
    "tensorflow_session_config_file": "use --tensorflow_..._parallelism",
    "thread_pool_factory_config_file": "use --tensorflow_..._parallelism",
    "enable_per_model_batching_parameters": "use --batching_parameters_file, for all models",
    "prefer_tflite_model": "TensorFlow Lite models are not served",
    "enable_profiler": "the profiler service is not implemented; use the metrics",
    "mixed_precision": "models run with the types that they were exported with",
    "xla_cpu_compilation_enabled": "compile the model when it is exported",
    "xla_gpu_compilation_enabled": "the server computes on the processor",
}
"""The flags that end the server with exit code 2 unless they are off, and what to do instead."""

_OFF: Final = ("", "0", "false")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds all of them to a parser; the result's `warnings` has a sentence for each ignored one."""
    parser.set_defaults(warnings=())
    for title, flags in (
        ("flags of TF Serving without effect", IGNORED),
        ("flags of TF Serving that are rejected", REJECTED),
    ):
        group = parser.add_argument_group(title)
        for name, reason in flags.items():
            group.add_argument(
                f"--{name}", action=_Action, nargs="?", default=argparse.SUPPRESS, help=reason
            )


class _Action(argparse.Action):
    """Handles one flag; it has no value in the result."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if self.dest in IGNORED:
            warning = f"{option_string} is ignored: {IGNORED[self.dest]}"
            namespace.warnings = (*namespace.warnings, warning)
        elif values is None or str(values).lower() not in _OFF:
            parser.error(f"{option_string} is not supported: {REJECTED[self.dest]}")
