"""TF Serving's JSON documents: requests to tensors and examples, answers to lists. No HTTP.

Numbers are checked against the types in the signature, which JSON does not have. NaN and Infinity
are accepted and written, as TF Serving does, although JSON does not define them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import tensorflow as tf
from google.protobuf import json_format
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

from serving.errors import InvalidRequestError
from serving.server import tensors
from serving.server.rest import json_values

INSTANCES, INPUTS = "instances", "inputs"
_BYTES_SUFFIX: Final = "_bytes"  # of the name of an output that contains bytes, not text

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


class PredictBody(NamedTuple):
    """The body of a Predict request."""

    signature_name: str
    layout: str
    """INSTANCES, a list of rows, or INPUTS, a table of columns; the answer has the same layout."""

    values: Any


def parse(body: bytes) -> dict[str, Any]:
    """Parses a body as JSON.

    Raises:
      InvalidRequestError: it is not a JSON object.
    """
    if not body:
        raise InvalidRequestError("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequestError(f"JSON Value: {json_values.quote(document)} Is not object")
    return document


def parse_predict(body: bytes) -> PredictBody:
    """The parts of a Predict request; the values are not checked yet."""
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
    """Writes the values of a Predict request into tensors of the types in the signature.

    Raises:
      InvalidRequestError: the values do not fit.
    """
    columns = _columns(body, infos)
    for name, values in columns.items():
        array = json_values.to_array(name, values, tf.as_dtype(infos[name].dtype))
        tensors.encode(array, request.inputs[name], as_content=True)


def predict_answer(response: predict_pb2.PredictResponse, layout: str) -> dict[str, Any]:
    """The answer to a Predict request, in the layout of the request."""
    columns = {
        name: json_values.to_values(tensors.decode(name, tensor), name.endswith(_BYTES_SUFFIX))
        for name, tensor in sorted(response.outputs.items())
    }
    (only, *more) = columns.values()
    if layout == INPUTS:
        return {"outputs": columns if more else only}
    if not all(isinstance(column, list) for column in columns.values()):
        raise InvalidRequestError("An output has no batch dimension; use 'inputs' for columns.")
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
    """Writes the examples of a Classify or Regress request into it.

    Raises:
      InvalidRequestError: they are not valid examples.
    """
    document = parse(body)
    request.model_spec.signature_name = _signature_name(document)
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise InvalidRequestError("Missing 'examples': expected a list with at least 1 example")
    made = [_example(example) for example in examples]
    given: input_pb2.Input = request.input
    if "context" in document:
        given.example_list_with_context.context.CopyFrom(_example(document["context"]))
        given.example_list_with_context.examples.extend(made)
    else:
        given.example_list.examples.extend(made)


def classify_answer(response: classification_pb2.ClassificationResponse) -> dict[str, Any]:
    """The answer to a Classify request: pairs of label and score for each example."""
    return {
        "results": [
            [[one.label, json_values.decimal(one.score)] for one in entry.classes]
            for entry in response.result.classifications
        ]
    }


def regress_answer(response: regression_pb2.RegressionResponse) -> dict[str, Any]:
    """The answer to a Regress request: a number for each example."""
    return {"results": [json_values.decimal(entry.value) for entry in response.result.regressions]}


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
    """A message as JSON: fields keep their names and are never omitted; int64 as text."""
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
    """The values of each input; the first dimension is the batch."""
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
    return isinstance(value, dict) and not json_values.is_base64(value)


def _example(given: Any) -> example_pb2.Example:
    if not isinstance(given, dict):
        raise InvalidRequestError(f"Example must be JSON object but got {json_values.quote(given)}")
    example = example_pb2.Example()
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[name]
        kinds = {
            json_values.BASE64 if json_values.is_base64(item) else type(item).__name__
            for item in values
        }
        try:
            if kinds <= {"str", json_values.BASE64}:
                feature.bytes_list.value.extend(
                    item.encode() if isinstance(item, str) else json_values.decoded(item)
                    for item in values
                )
            elif kinds <= {"int", "bool"}:
                feature.int64_list.value.extend(map(int, values))
            elif kinds == {"float"}:
                feature.float_list.value.extend(values)
            else:
                raise InvalidRequestError(
                    f"Unexpected element type in feature: {name}: expected texts, integers or "
                    "decimal numbers, all of one type"
                )
        except (ValueError, OverflowError) as error:
            raise InvalidRequestError(f"Feature: {name}: {error}") from error
    return example
