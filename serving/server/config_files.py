"""TF Serving's configuration files, in protobuf's text format.

`tensorflow-serving-api` contains the message of `--model_config_file` only. The others are declared
here with the fields of TF Serving's, in a descriptor pool of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import ServerStartError

_PACKAGE: Final = "mnist_tfx.serving"
_Field = descriptor_pb2.FieldDescriptorProto
_INT64_VALUE: Final = ".google.protobuf.Int64Value"
_STRING_VALUE: Final = ".google.protobuf.StringValue"
_REPEATED_INT64: Final = "repeated int64"
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "BatchingParameters": {
        "max_batch_size": _INT64_VALUE,
        "batch_timeout_micros": _INT64_VALUE,
        "max_enqueued_batches": _INT64_VALUE,
        "num_batch_threads": _INT64_VALUE,
        "thread_pool_name": _STRING_VALUE,
        "allowed_batch_sizes": _REPEATED_INT64,
    },
    "SSLConfig": {
        "server_key": _Field.TYPE_STRING,
        "server_cert": _Field.TYPE_STRING,
        "custom_ca": _Field.TYPE_STRING,
        "client_verify": _Field.TYPE_BOOL,
    },
    "PrometheusConfig": {"enable": _Field.TYPE_BOOL, "path": _Field.TYPE_STRING},
    "MonitoringConfig": {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"},
}

AnyMessage = TypeVar("AnyMessage", bound=Message)


def batching_parameters(path: Path) -> Message:
    """Reads a `--batching_parameters_file`; errors as `model_server_config`."""
    return _read(path, _messages()["BatchingParameters"])


def ssl_config(path: Path) -> Message:
    """Reads a `--ssl_config_file`: the PEM texts themselves; errors as `model_server_config`."""
    return _read(path, _messages()["SSLConfig"], is_secret=True)


def monitoring_config(path: Path) -> Message:
    """Reads a `--monitoring_config_file`; errors as `model_server_config`."""
    return _read(path, _messages()["MonitoringConfig"])


def model_server_config(path: Path) -> model_server_config_pb2.ModelServerConfig:
    """Reads a `--model_config_file`.

    Raises:
      ServerStartError: the file cannot be read, or contains a mistake.
    """
    return _read(path, model_server_config_pb2.ModelServerConfig)


def _read(path: Path, kind: type[AnyMessage], is_secret: bool = False) -> AnyMessage:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServerStartError(f"cannot read {path}: {error}.") from error
    try:
        message: AnyMessage = text_format.Parse(text, kind())
        return message
    except text_format.ParseError as error:
        # protobuf's message quotes the text, which may be part of a private key.
        reason = "" if is_secret else f" ({str(error).rpartition(' : ')[2]})"
        raise ServerStartError(
            f"{path}: Error parsing text-format tensorflow.serving.{kind.DESCRIPTOR.name}: mistake "
            f"in line {error.GetLine()}{reason}."
        ) from None


def _messages() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="mnist_tfx/serving.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields.items(), start=1):
            field = message.field.add(name=field_name, number=number, label=_Field.LABEL_OPTIONAL)
            if kind == _REPEATED_INT64:
                field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_INT64
            elif isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _FIELDS
    }
