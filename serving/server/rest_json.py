"""TF Serving's JSON: requests to tensors and examples, outputs to lists. No HTTP.

Numbers are checked against the signature's types: JSON has none of its own. NaN and
Infinity are taken and given as such, as TF Serving does, although JSON has no words for them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from numpy.typing import NDArray
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import codec
from serving.errors import InvalidRequestError

INSTANCES, INPUTS = "instances", "inputs"
_BASE64: Final = "b64"
_BYTES_SUFFIX: Final = "_bytes"  # of the names of outputs that hold bytes, rather than text
_LONGEST_QUOTE: Final = 100

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


class PredictBody(NamedTuple):
    """The body of a Predict request."""

    signature_name: str
    layout: str
    """INSTANCES, a list of rows, or INPUTS, a table of columns. The answer has the same."""

    values: Any


def parse(body: bytes) -> dict[str, Any]:
    """A body as JSON.

    Raises:
      InvalidRequestError: it is none, or no object.
    """
    if not body:
        raise InvalidRequestError("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequestError(f"JSON Value: {_quote(document)} Is not object")
    return document


def parse_predict(body: bytes) -> PredictBody:
    """The parts of a Predict request; what is in the tensors is not looked at yet."""
    document = parse(body)
    given = [key for key in (INSTANCES, INPUTS) if key in document]
    if not given:
        raise InvalidRequestError("Missing 'inputs' or 'instances' key")
    if len(given) > 1:
        raise InvalidRequestError(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    values = document[given[0]]
    if given[0] == INSTANCES and not isinstance(values, list):
        raise InvalidRequestError("Expecting 'instances' to be an list/array")
    if given[0] == INSTANCES and not values:
        raise InvalidRequestError("No values in 'instances' array")
    return PredictBody(_signature_name(document), given[0], values)


def fill_predict(
    request: predict_pb2.PredictRequest, body: PredictBody, infos: TensorInfos
) -> None:
    """Puts the values of a Predict request into tensors of the types that the signature names.

    Raises:
      InvalidRequestError: they do not fit.
    """
    columns = _columns(body, infos)
    for name, values in columns.items():
        codec.encode(_array(name, values, tf.as_dtype(infos[name].dtype)), request.inputs[name])


def predict_answer(response: predict_pb2.PredictResponse, layout: str) -> dict[str, Any]:
    """The answer to a Predict request, in the layout of the request."""
    columns = {
        name: _plain(codec.decode(name, tensor), name.endswith(_BYTES_SUFFIX))
        for name, tensor in sorted(response.outputs.items())
    }
    (only, *more) = columns.values()
    if layout == INPUTS:
        return {"outputs": columns if more else only}
    if not all(isinstance(column, list) for column in columns.values()):
        raise InvalidRequestError("An output has no batch: ask with 'inputs' for columns.")
    if len({len(column) for column in columns.values()}) > 1:
        raise InvalidRequestError("The outputs have inconsistent batch sizes.")
    if not more:
        return {"predictions": only}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def fill_examples(
    request: classification_pb2.ClassificationRequest | regression_pb2.RegressionRequest,
    body: bytes,
) -> None:
    """Puts the examples of a Classify or Regress request into it.

    Raises:
      InvalidRequestError: they are no examples.
    """
    document = parse(body)
    request.model_spec.signature_name = _signature_name(document)
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise InvalidRequestError("'examples' is expected, a list with at least one example")
    made = [_example(example) for example in examples]
    given: input_pb2.Input = request.input
    if "context" in document:
        given.example_list_with_context.context.CopyFrom(_example(document["context"]))
        given.example_list_with_context.examples.extend(made)
    else:
        given.example_list.examples.extend(made)


def classify_answer(response: classification_pb2.ClassificationResponse) -> dict[str, Any]:
    """The answer to a Classify request: for each example, pairs of a label and a score."""
    return {
        "results": [
            [[one.label, _decimal(one.score)] for one in entry.classes]
            for entry in response.result.classifications
        ]
    }


def regress_answer(response: regression_pb2.RegressionResponse) -> dict[str, Any]:
    """The answer to a Regress request: a number for each example."""
    return {"results": [_decimal(entry.value) for entry in response.result.regressions]}


def status_answer(response: get_model_status_pb2.GetModelStatusResponse) -> dict[str, Any]:
    """The states of a model's versions."""
    return _message(response)


def metadata_answer(response: get_model_metadata_pb2.GetModelMetadataResponse) -> dict[str, Any]:
    """A version's signatures."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return {
        "model_spec": _message(response.model_spec),
        "metadata": {"signature_def": _message(signatures)},
    }


def _message(message: Any) -> dict[str, Any]:
    """Fields keep their names and are there when empty; 64-bit integers are texts."""
    fields: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _signature_name(document: Mapping[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidRequestError("'signature_name' key must be a string value.")
    return name


def _columns(body: PredictBody, infos: TensorInfos) -> dict[str, Any]:
    """The values of each input, with the batch as the first dimension."""
    values = body.values
    named = _is_named(values if body.layout == INPUTS else values[0])
    if not named:
        if len(infos) != 1:
            raise InvalidRequestError(
                f"{body.layout} is a plain list, but expecting names as multiple input tensors "
                f"are required: {','.join(sorted(infos))}"
            )
        if body.layout == INSTANCES and any(map(_is_named, values)):
            raise InvalidRequestError("Expecting value/list but got object in the input list")
        return {next(iter(infos)): values}
    for position, row in enumerate(values if body.layout == INSTANCES else [values]):
        if not _is_named(row) or set(row) != set(infos):
            raise InvalidRequestError(
                f"Failed to process element: {position} of '{body.layout}'. Keys must be equal to: "
                f"{','.join(sorted(infos))}"
            )
    if body.layout == INPUTS:
        return dict(values)
    return {name: [row[name] for row in values] for name in infos}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == [_BASE64] and isinstance(value[_BASE64], str)


def _array(name: str, value: Any, dtype: tf.DType) -> NDArray[Any]:
    """Nested lists as an array.

    Raises:
      InvalidRequestError: the lists have several lengths, or a value is of another type.
    """
    shape: list[int] = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    leaves: list[Any] = []
    _collect(name, value, shape, 0, _converter(dtype), leaves)
    if dtype == tf.string:
        array = np.empty(len(leaves), object)
        array[:] = leaves
        return array.reshape(shape)
    try:
        return np.array(leaves, dtype.as_numpy_dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidRequestError(f"input {name} has a value that {dtype.name} has not") from error


def _collect(
    name: str,
    value: Any,
    shape: list[int],
    level: int,
    convert: Callable[[Any], Any],
    leaves: list[Any],
) -> None:
    if level == len(shape):
        leaves.append(convert(value))
        return
    if not isinstance(value, list) or len(value) != shape[level]:
        size = len(value) if isinstance(value, list) else "no list"
        raise InvalidRequestError(
            f"Encountered list at unexpected size: {size} at level: {level} of input {name} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(name, item, shape, level + 1, convert, leaves)


def _converter(dtype: tf.DType) -> Callable[[Any], Any]:
    """Checks a value against a type, and converts it."""

    def convert(value: Any) -> Any:
        kind = type(value)
        if dtype == tf.string:
            if kind is str:
                return value.encode()
            if _is_base64(value):
                return _decoded(value)
        elif dtype == tf.bool:
            if kind is bool:
                return value
        elif dtype.is_floating:
            if kind is float or kind is int:
                return float(value)
        elif dtype.is_integer and kind is int:
            return value
        raise InvalidRequestError(
            f"JSON Value: {_quote(value)} Type: {kind.__name__} is not of expected type: "
            f"{dtype.name}"
        )

    return convert


def _decoded(value: Mapping[str, str]) -> bytes:
    try:
        return base64.b64decode(value[_BASE64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("Unable to base64 decode") from error


def _example(given: Any) -> example_pb2.Example:
    if not isinstance(given, dict):
        raise InvalidRequestError(f"Example must be JSON object but got {_quote(given)}")
    example = example_pb2.Example()
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[name]
        kinds = {_BASE64 if _is_base64(item) else type(item).__name__ for item in values}
        try:
            if kinds <= {"str", _BASE64}:
                feature.bytes_list.value.extend(
                    item.encode() if isinstance(item, str) else _decoded(item) for item in values
                )
            elif kinds <= {"int", "bool"}:
                feature.int64_list.value.extend(map(int, values))
            elif kinds == {"float"}:
                feature.float_list.value.extend(values)
            else:
                raise InvalidRequestError(
                    f"Unexpected element type in feature: {name}: texts, integers or decimals are "
                    "expected, all of one kind"
                )
        except (ValueError, OverflowError) as error:
            raise InvalidRequestError(f"Feature: {name}: {error}") from error
    return example


def _plain(array: NDArray[Any], is_bytes: bool) -> Any:
    """An array as nested lists, for JSON."""
    if array.dtype == object:
        return _texts(array.tolist(), is_bytes)
    if array.dtype == np.float32:
        # The shortest text that is this number, as TF Serving prints it: 0.1, where Python's own
        # conversion to 64 bits gives 0.10000000149011612.
        flat = np.array([_decimal(value) for value in array.ravel()], np.float64)
        return flat.reshape(array.shape).tolist()
    return array.tolist()


def _decimal(value: float) -> float:
    return float(str(np.float32(value)))


def _texts(value: Any, is_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_texts(item, is_bytes) for item in value]
    if is_bytes:
        return {_BASE64: base64.b64encode(value).decode()}
    return value.decode("utf-8", errors="replace")


def _quote(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
