"""The messages and methods of TF Serving's gRPC protocol that a client needs.

`tensorflow-serving-api` has all of them, but importing it loads TensorFlow, which takes seconds.
The messages are declared here with the fields of TF Serving's, in a descriptor pool of their own,
so that they do not collide with TensorFlow's if that is loaded, too. Source of the names and
numbers: `tensorflow_serving/apis/*.proto` and `tensorflow/core/framework/tensor.proto`; a test
compares them with `tensorflow-serving-api`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_TENSORFLOW: Final = "tensorflow"
_SERVING: Final = "tensorflow.serving"

DT_FLOAT: Final = 1  # tensorflow.DataType
DT_UINT8: Final = 4
AVAILABLE: Final = 30  # ModelVersionStatus.State

# For each message, its fields: the number and the type; "repeated " and "map " (of strings to
# messages) before the type. Enums are declared as int32, which has the same encoding.
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    f"{_TENSORFLOW}.Dim": {"size": (1, "int64"), "name": (2, "string")},
    f"{_TENSORFLOW}.TensorShapeProto": {
        "dim": (2, "repeated .tensorflow.Dim"),
        "unknown_rank": (3, "bool"),
    },
    f"{_TENSORFLOW}.TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, ".tensorflow.TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
    },
    f"{_SERVING}.ModelSpec": {
        "name": (1, "string"),
        "version": (2, ".google.protobuf.Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    f"{_SERVING}.PredictRequest": {
        "model_spec": (1, ".tensorflow.serving.ModelSpec"),
        "inputs": (2, "map .tensorflow.TensorProto"),
        "output_filter": (3, "repeated string"),
    },
    f"{_SERVING}.PredictResponse": {
        "outputs": (1, "map .tensorflow.TensorProto"),
        "model_spec": (2, ".tensorflow.serving.ModelSpec"),
    },
    f"{_SERVING}.StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    f"{_SERVING}.ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, ".tensorflow.serving.StatusProto"),
    },
    f"{_SERVING}.GetModelStatusRequest": {"model_spec": (1, ".tensorflow.serving.ModelSpec")},
    f"{_SERVING}.GetModelStatusResponse": {
        "model_version_status": (1, "repeated .tensorflow.serving.ModelVersionStatus")
    },
}
_ONEOFS: Final = {f"{_SERVING}.ModelSpec": ("version_choice", ("version", "version_label"))}
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
}


def _declare() -> Mapping[str, Any]:
    """The message classes, by their names without the package."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    for package in (_TENSORFLOW, _SERVING):
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.client.proto", package=package, syntax="proto3"
        )
        if package == _SERVING:
            file.dependency.extend([f"{_TENSORFLOW}.client.proto", wrappers_pb2.DESCRIPTOR.name])
        for full_name, fields in _MESSAGES.items():
            if full_name.rpartition(".")[0] == package:
                _add_message(file, full_name, fields)
        pool.Add(file)
    return {
        name.rpartition(".")[2]: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        for name in _MESSAGES
    }


def _add_message(
    file: descriptor_pb2.FileDescriptorProto,
    full_name: str,
    fields: Mapping[str, tuple[int, str]],
) -> None:
    message = file.message_type.add(name=full_name.rpartition(".")[2])
    oneof, members = _ONEOFS.get(full_name, ("", ()))
    if oneof:
        message.oneof_decl.add(name=oneof)
    for name, (number, kind) in fields.items():
        label, _, plain = kind.rpartition(" ")
        field = message.field.add(
            name=name,
            number=number,
            label=_Field.LABEL_REPEATED if label else _Field.LABEL_OPTIONAL,
        )
        if name in members:
            field.oneof_index = 0
        if label == "map":
            entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
            entry.options.map_entry = True
            entry.field.add(
                name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING
            )
            value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
            value.type, value.type_name = _Field.TYPE_MESSAGE, plain
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{full_name}.{entry.name}"
        elif plain in _SCALARS:
            field.type = _SCALARS[plain]
        else:
            field.type, field.type_name = _Field.TYPE_MESSAGE, plain


_classes: Final = _declare()
TensorProto: Final = _classes["TensorProto"]
PredictRequest: Final = _classes["PredictRequest"]
PredictResponse: Final = _classes["PredictResponse"]
GetModelStatusRequest: Final = _classes["GetModelStatusRequest"]
GetModelStatusResponse: Final = _classes["GetModelStatusResponse"]


class Methods:
    """The calls of a channel, plain or asyncio's.

    Attributes:
      predict: PredictionService.Predict.
      get_model_status: ModelService.GetModelStatus.
    """

    def __init__(self, channel: Any):
        self.predict: Callable[..., Any] = channel.unary_unary(
            f"/{_SERVING}.PredictionService/Predict",
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )
        self.get_model_status: Callable[..., Any] = channel.unary_unary(
            f"/{_SERVING}.ModelService/GetModelStatus",
            request_serializer=GetModelStatusRequest.SerializeToString,
            response_deserializer=GetModelStatusResponse.FromString,
        )
