"""The command line: TF Serving's flags, with its names and defaults, and `--host`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Flags:
    """What was said on the command line; `parser` says what each means."""

    host: str
    port: int
    rest_api_port: int
    rest_api_timeout_in_ms: int
    model_name: str
    model_base_path: Path | None
    model_config_file: Path | None
    model_config_file_poll_wait_seconds: float
    file_system_poll_wait_seconds: float
    allow_version_labels_for_unavailable_models: bool
    enable_model_warmup: bool
    max_num_load_retries: int
    load_retry_interval_micros: int
    enable_batching: bool
    batching_parameters_file: Path | None
    ssl_config_file: Path | None
    monitoring_config_file: Path | None


def parse(arguments: Sequence[str] | None = None) -> Flags:
    """Reads the command line; ends the process with code 2 where it is wrong."""
    parser = _parser()
    flags = Flags(**vars(parser.parse_args(arguments)))
    if bool(flags.model_base_path) == bool(flags.model_config_file):
        parser.error("either --model_base_path or --model_config_file is expected")
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file goes with --enable_batching")
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        parser.error("--rest_api_port cannot be same as --port")
    return flags


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.server",
        description="Serves SavedModels over TF Serving's gRPC and REST protocols.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="interface to listen on; TF Serving takes all")
    add("--port", type=_port, default=8500, help="gRPC port; 0 takes a free one")
    add("--rest_api_port", type=_port, default=0, help="HTTP port; 0 for no REST API")
    add("--rest_api_timeout_in_ms", type=int, default=30_000, help="of a REST request")
    add("--model_name", default="default", help="with --model_base_path")
    add("--model_base_path", type=Path, help="the folder with the versions of one model")
    add("--model_config_file", type=Path, help="several models: a ModelServerConfig, as text")
    add(
        "--model_config_file_poll_wait_seconds",
        type=float,
        default=0,
        help="how often that file is read again; 0 for never",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1,
        help="how often the folders are looked at; 0 for once, negative for never",
    )
    add(
        "--allow_version_labels_for_unavailable_models",
        **_boolean(False),
        help="let a label name a version that is not loaded yet",
    )
    add("--enable_model_warmup", **_boolean(True), help="run a version's warm-up requests")
    add("--max_num_load_retries", type=int, default=5, help="of a version that fails to load")
    add("--load_retry_interval_micros", type=int, default=60_000_000, help="between these")
    add("--enable_batching", **_boolean(False), help="run requests together")
    add("--batching_parameters_file", type=Path, help="BatchingParameters, as text")
    add("--ssl_config_file", type=Path, help="TLS for gRPC: an SSLConfig, as text")
    add("--monitoring_config_file", type=Path, help="metrics: a MonitoringConfig, as text")
    return parser


def _boolean(default: bool) -> dict[str, Any]:
    """`--flag`, `--flag=true` and `--flag=false`, as TF Serving takes them."""
    return {"type": _truth, "nargs": "?", "const": True, "default": default, "metavar": "true"}


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() in ("true", "1")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: a number from 0 to 65535 is expected")
    return int(text)
