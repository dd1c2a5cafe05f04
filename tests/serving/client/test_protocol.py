"""The client's own message declarations, compared with those of `tensorflow-serving-api`."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from serving.client import protocol

PAIRS = [
    (protocol.TensorProto, tensor_pb2.TensorProto),
    (protocol.PredictRequest, predict_pb2.PredictRequest),
    (protocol.PredictResponse, predict_pb2.PredictResponse),
    (protocol.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (protocol.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
]


def _compare(own: Descriptor, official: Descriptor, seen: set[str]) -> None:
    """Every own field exists with the same number, type and label; enums count as int32."""
    if own.full_name in seen:
        return
    seen.add(own.full_name)
    for field in own.fields:
        other = official.fields_by_name[field.name]
        expected = other.type
        if expected == FieldDescriptor.TYPE_ENUM:
            expected = FieldDescriptor.TYPE_INT32
        assert (field.number, field.type) == (other.number, expected), field.full_name
        assert field.is_repeated == other.is_repeated, field.full_name
        oneof = other.containing_oneof.name if other.containing_oneof else None
        assert (field.containing_oneof.name if field.containing_oneof else None) == oneof
        if field.message_type is not None:
            _compare(field.message_type, other.message_type, seen)


@pytest.mark.parametrize(("own", "official"), PAIRS, ids=[own.__name__ for own, _ in PAIRS])
def test_the_declarations_are_tf_servings(own: Any, official: Any) -> None:
    assert own.DESCRIPTOR.full_name == official.DESCRIPTOR.full_name
    seen: set[str] = set()
    _compare(own.DESCRIPTOR, official.DESCRIPTOR, seen)
    assert own.DESCRIPTOR.full_name in seen


def test_the_constants_are_tensorflows() -> None:
    assert protocol.DT_FLOAT == types_pb2.DT_FLOAT
    assert protocol.DT_UINT8 == types_pb2.DT_UINT8
    assert protocol.AVAILABLE == get_model_status_pb2.ModelVersionStatus.AVAILABLE
