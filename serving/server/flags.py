"""The command line: TF Serving's flags with its names and defaults, and flags of our own."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from serving.server import flag_values, unsupported_flags


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
    grpc_socket_path: str
    grpc_channel_arguments: tuple[tuple[str, int | str], ...]
    rest_api_enable_cors_support: bool
    saved_model_tags: frozenset[str]
    enable_serialization_as_tensor_content: bool
    num_request_iterations_for_warmup: int
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    warnings: tuple[str, ...]
    """Flags that were given and have no effect, with the reason."""


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
    if not flags.model_base_path and not flags.model_config_file:
        parser.error("give --model_base_path or --model_config_file")
    if flags.model_base_path and flags.model_config_file:
        warning = "--model_base_path is ignored: --model_config_file lists the models"
        flags = replace(flags, warnings=(*flags.warnings, warning))
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
    add("--port", type=flag_values.port, default=8500, help="gRPC port; 0 for a free one")
    add("--rest_api_port", type=flag_values.port, default=0, help="HTTP port; 0 for no REST API")
    add(
        "--rest_api_timeout_in_ms",
        type=flag_values.positive,
        default=30_000,
        help="time-out of a REST request",
    )
    add("--model_name", default="default", help="name of the model in --model_base_path")
    add(
        "--model_base_path",
        type=flag_values.local_folder,
        help="folder with the versions of one model",
    )
    add("--model_config_file", type=Path, help="several models: a ModelServerConfig in text format")
    add(
        "--model_config_file_poll_wait_seconds",
        type=flag_values.seconds,
        default=0,
        help="interval of reading that file again; 0 for never",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=flag_values.seconds,
        default=1,
        help="interval of looking for versions; 0 for once, negative for never",
    )
    add(
        "--allow_version_labels_for_unavailable_models",
        **flag_values.boolean(False),
        help="allow a label for a version that is not loaded yet",
    )
    add(
        "--enable_model_warmup",
        **flag_values.boolean(True),
        help="run the warm-up requests of a version before it is served",
    )
    add(
        "--max_num_load_retries",
        type=flag_values.count,
        default=5,
        help="retries of a version that fails to load",
    )
    add(
        "--load_retry_interval_micros",
        type=flag_values.count,
        default=60_000_000,
        help="pause between these retries",
    )
    add(
        "--enable_batching",
        **flag_values.boolean(False),
        help="batch requests that wait at the same time",
    )
    add("--batching_parameters_file", type=Path, help="BatchingParameters in text format")
    add(
        "--enable_signature_method_name_check",
        **flag_values.boolean(False),
        help="reject Classify and Regress on a signature with another method name",
    )
    add("--ssl_config_file", type=Path, help="TLS for gRPC: an SSLConfig in text format")
    add("--monitoring_config_file", type=Path, help="metrics: a MonitoringConfig in text format")
    add(
        "--request_slice_rows",
        type=flag_values.count,
        default=64,
        help="maximum number of examples of a request that run at once: larger requests run in "
        "slices, so that they do not hold up others; 0 for no limit; not a flag of TF Serving",
    )
    add(
        "--max_request_rows",
        type=flag_values.count,
        default=10_000,
        help="maximum number of examples in a request; 0 for no limit; not a flag of TF Serving",
    )
    add(
        "--enable_input_shape_check",
        **flag_values.boolean(True),
        help="reject a request whose shapes differ from the signature's; TF Serving leaves that to "
        "the model, but some kernels end the process on a wrong shape; not a flag of TF Serving",
    )
    add(
        "--enable_reload_config",
        **flag_values.boolean(None),
        help="accept HandleReloadConfigRequest; the default is true on loopback and with client "
        "certificates, else false; not a flag of TF Serving, which always accepts it",
    )
    add(
        "--reload_config_roots",
        type=flag_values.folders,
        default=(),
        help="folders, separated by commas, that a HandleReloadConfigRequest may name models in; "
        "the default is the folders with the models at the start; not a flag of TF Serving",
    )
    add(
        "--stop_when_stdin_closes",
        **flag_values.boolean(False),
        help="stop when the standard input is closed, so that the server ends with the process "
        "that started it; not a flag of TF Serving",
    )
    add("--grpc_socket_path", default="", help="a Unix domain socket to listen on, too")
    add(
        "--grpc_channel_arguments",
        type=flag_values.channel_arguments,
        default=(),
        help="options of gRPC, separated by commas, such as grpc.max_connection_age_ms=2000",
    )
    add(
        "--rest_api_enable_cors_support",
        **flag_values.boolean(False),
        help="allow web pages of any origin to use the REST API",
    )
    add(
        "--saved_model_tags",
        type=flag_values.tags,
        default=frozenset({"serve"}),
        help="tags of the graph to load, separated by commas",
    )
    add(
        "--enable_serialization_as_tensor_content",
        **flag_values.boolean(False),
        help="answer Predict with tensor_content instead of lists of values",
    )
    add(
        "--num_request_iterations_for_warmup",
        type=flag_values.count,
        default=1,
        help="how often each warm-up request runs",
    )
    add(
        "--tensorflow_session_parallelism",
        type=flag_values.count,
        default=0,
        help="threads of TensorFlow, for both of the next two; 0 for their defaults",
    )
    add(
        "--tensorflow_intra_op_parallelism",
        type=flag_values.count,
        default=0,
        help="threads that one operation uses; 0 for the number of processors",
    )
    add(
        "--tensorflow_inter_op_parallelism",
        type=flag_values.count,
        default=0,
        help="threads that run a request's operations; 0 for one, without a hand-over",
    )
    add("--version", action="version", version=_version(), help="print the version")
    unsupported_flags.add_to(parser)
    return parser


def _version() -> str:
    return f"mnist-tfx {importlib.metadata.version('mnist-tfx')}, for clients of TF Serving"
