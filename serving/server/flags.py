"""The command line: TF Serving's flags with its names and defaults, and flags of our own."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

_LARGEST_PORT: Final = 65535


@dataclass(frozen=True)
class Flags:
    """The values on the command line; `--help` explains each."""

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
    request_slice_rows: int
    max_request_rows: int
    enable_input_shape_check: bool
    enable_signature_method_name_check: bool
    enable_reload_config: bool | None
    reload_config_roots: tuple[Path, ...]
    stop_when_stdin_closes: bool


class FlagsError(ValueError):
    """A mistake in the flags, in one sentence."""


class RaisingParser(argparse.ArgumentParser):
    """Raises FlagsError where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for each mistake."""
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            name = message.removeprefix(prefix).split()[0].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; --help lists all."
            message = f"unknown option {name}{hint}"
        raise FlagsError(message)


def parse(
    arguments: Sequence[str] | None = None,
    parser_type: type[argparse.ArgumentParser] = argparse.ArgumentParser,
) -> Flags:
    """Parses the command line; a mistake ends the process with exit code 2."""
    parser = _parser(parser_type)
    flags = Flags(**vars(parser.parse_args(arguments)))
    if bool(flags.model_base_path) == bool(flags.model_config_file):
        parser.error("give either --model_base_path or --model_config_file")
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file requires --enable_batching")
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        parser.error("--rest_api_port cannot be same as --port")
    return flags


def _parser(parser_type: type[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = parser_type(
        prog="python -m serving.server",
        description="Serves SavedModels over TF Serving's gRPC and REST protocols.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="interface to listen on; TF Serving uses all")
    add("--port", type=_port, default=8500, help="gRPC port; 0 for a free one")
    add("--rest_api_port", type=_port, default=0, help="HTTP port; 0 for no REST API")
    add(
        "--rest_api_timeout_in_ms",
        type=_positive,
        default=30_000,
        help="time-out of a REST request",
    )
    add("--model_name", default="default", help="name of the model in --model_base_path")
    add("--model_base_path", type=Path, help="folder with the versions of one model")
    add("--model_config_file", type=Path, help="several models: a ModelServerConfig in text format")
    add(
        "--model_config_file_poll_wait_seconds",
        type=_seconds,
        default=0,
        help="interval of reading that file again; 0 for never",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=_seconds,
        default=1,
        help="interval of looking for versions; 0 for once, negative for never",
    )
    add(
        "--allow_version_labels_for_unavailable_models",
        **_boolean(False),
        help="allow a label for a version that is not loaded yet",
    )
    add(
        "--enable_model_warmup",
        **_boolean(True),
        help="run the warm-up requests of a version before it is served",
    )
    add(
        "--max_num_load_retries",
        type=_count,
        default=5,
        help="retries of a version that fails to load",
    )
    add(
        "--load_retry_interval_micros",
        type=_count,
        default=60_000_000,
        help="pause between these retries",
    )
    add("--enable_batching", **_boolean(False), help="batch requests that wait at the same time")
    add("--batching_parameters_file", type=Path, help="BatchingParameters in text format")
    add(
        "--enable_signature_method_name_check",
        **_boolean(False),
        help="reject Classify and Regress on a signature with another method name",
    )
    add("--ssl_config_file", type=Path, help="TLS for gRPC: an SSLConfig in text format")
    add("--monitoring_config_file", type=Path, help="metrics: a MonitoringConfig in text format")
    add(
        "--request_slice_rows",
        type=_count,
        default=64,
        help="maximum number of examples of a request that run at once: larger requests run in "
        "slices, so that they do not hold up others; 0 for no limit; not a flag of TF Serving",
    )
    add(
        "--max_request_rows",
        type=_count,
        default=10_000,
        help="maximum number of examples in a request; 0 for no limit; not a flag of TF Serving",
    )
    add(
        "--enable_input_shape_check",
        **_boolean(True),
        help="reject a request whose shapes differ from the signature's; TF Serving leaves that to "
        "the model, but some kernels end the process on a wrong shape; not a flag of TF Serving",
    )
    add(
        "--enable_reload_config",
        **_boolean(None),
        help="accept HandleReloadConfigRequest; the default is true on loopback and with client "
        "certificates, else false; not a flag of TF Serving, which always accepts it",
    )
    add(
        "--reload_config_roots",
        type=_folders,
        default=(),
        help="folders, separated by commas, that a HandleReloadConfigRequest may name models in; "
        "the default is the folders with the models at the start; not a flag of TF Serving",
    )
    add(
        "--stop_when_stdin_closes",
        **_boolean(False),
        help="stop when the standard input is closed, so that the server ends with the process "
        "that started it; not a flag of TF Serving",
    )
    return parser


def _boolean(default: bool | None) -> dict[str, Any]:
    """`--flag`, `--flag=true` and `--flag=false`, the forms that TF Serving accepts."""
    return {"type": _truth, "nargs": "?", "const": True, "default": default, "metavar": "true"}


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text}: expected true or false")
    return text.lower() in ("true", "1")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: expected a number, 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text}: expected a number, 1 or more")
    return int(text)


def _folders(text: str) -> tuple[Path, ...]:
    folders = tuple(map(Path, text.split(",")))
    for folder in folders:
        if not folder.is_absolute():
            raise argparse.ArgumentTypeError(f"{folder}: expected an absolute path")
    return folders


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"{text}: expected a number of seconds")
    return seconds
