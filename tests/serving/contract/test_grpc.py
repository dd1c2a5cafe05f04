"""The contract over gRPC: TF Serving's answers, codes and messages.

Each test runs against the servers of WAYS in tests/serving/conftest.py; `tensorflow_model_server`
only if it is on PATH.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from doubles.model_server import TIMEOUT_S, Server, digits_answer
from google.protobuf import empty_pb2, wrappers_pb2
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from components.images.idx_format import ImagesAndLabels

ZEROS = np.zeros((1, 28, 28), np.uint8)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
CLASSIFY, REGRESS = tf.saved_model.CLASSIFY_METHOD_NAME, tf.saved_model.REGRESS_METHOD_NAME


def _request(
    signature: str = "predict_images", model: str = "mnist", **inputs: object
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def _spec(**fields: object) -> predict_pb2.PredictRequest:
    """A good request except for one field of its ModelSpec or its output filter."""
    request = _request(images=ZEROS)
    for name, value in fields.items():
        if name == "version":
            request.model_spec.version.value = value
        elif name == "output_filter":
            request.output_filter.extend(value)
        else:
            setattr(request.model_spec, name, value)
    return request


def _examples(*features: dict[str, object]) -> input_pb2.Input:
    given = input_pb2.Input()
    for feature in features:
        example = given.example_list.examples.add()
        for name, value in feature.items():
            example.features.feature[name].bytes_list.value.append(value)
    return given


def _rejection(call: Callable[..., object], request: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=TIMEOUT_S)
    return raised.value.code(), raised.value.details()


def test_the_answer_equals_the_models(
    server: Server, test_digits: ImagesAndLabels, exported_model: Path, second_model: Path
) -> None:
    images = test_digits.images[:40]
    for version, model in ((3, exported_model), (4, second_model)):
        request = _request(images=images)
        request.model_spec.version.value = version
        response = server.prediction.Predict(request, timeout=TIMEOUT_S)
        assert set(response.outputs) == {"probabilities", "predicted_class"}
        found = tf.make_ndarray(response.outputs["probabilities"])
        expected = digits_answer(model, images)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        classes = tf.make_ndarray(response.outputs["predicted_class"])
        assert classes.dtype == np.int64
        np.testing.assert_array_equal(classes, expected.argmax(axis=1))
        spec = response.model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == (
            "mnist",
            version,
            "predict_images",
        )


def test_the_newest_version_answers_and_labels_name_others(server: Server) -> None:
    def version(**fields: object) -> int:
        response = server.prediction.Predict(_spec(**fields), timeout=TIMEOUT_S)
        return response.model_spec.version.value  # type: ignore[no-any-return]

    assert version() == 4
    assert version(version_label="stable") == 3
    assert version(version_label="canary") == 4


def test_numbers_are_in_the_lists_that_clients_read(server: Server) -> None:
    """Many clients read `float_val` directly."""
    outputs = server.prediction.Predict(_request(images=ZEROS), timeout=TIMEOUT_S).outputs
    assert len(outputs["probabilities"].float_val) == 10
    assert len(outputs["predicted_class"].int64_val) == 1
    assert outputs["probabilities"].tensor_content == b""


def test_values_are_read_from_typed_lists(server: Server) -> None:
    request = _request("serving_default", "toy")
    for name in ("a", "b"):
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.zeros(2, np.float32)))
        request.inputs[name].tensor_content = b""
        request.inputs[name].float_val.extend([1.5, 20.0])
    outputs = server.prediction.Predict(request, timeout=TIMEOUT_S).outputs
    assert list(outputs["total"].float_val) == [3.0, 40.0]
    assert list(outputs["is_large"].bool_val) == [False, True]
    assert outputs["rows"].dtype == tf.int32.as_datatype_enum
    assert list(outputs["rows"].int_val) == [0, 1]


def test_one_value_fills_the_shape(server: Server) -> None:
    request = _request("predict_float_images")
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(0.5, shape=[2, 28, 28]))
    half = np.full((2, 28, 28), 0.5, np.float32)
    expected = server.prediction.Predict(
        _request("predict_float_images", images=half), timeout=TIMEOUT_S
    )
    found = server.prediction.Predict(request, timeout=TIMEOUT_S)
    assert found.outputs["probabilities"] == expected.outputs["probabilities"]


def test_string_tensors_round_trip(server: Server) -> None:
    request = _request("double", "toy", text=[b"ab", b"\xff"])
    outputs = server.prediction.Predict(request, timeout=TIMEOUT_S).outputs
    assert list(outputs["double"].string_val) == [b"abab", b"\xff\xff"]


def test_serialized_examples_are_answered_by_the_default_signature(
    server: Server, test_digits: ImagesAndLabels
) -> None:
    given = _examples({"image": test_digits.images[3].tobytes()})
    serialized = given.example_list.examples[0].SerializeToString()
    request = _request("", examples=[serialized])
    by_example = server.prediction.Predict(request, timeout=TIMEOUT_S)
    by_image = server.prediction.Predict(
        _request(images=test_digits.images[3:4]), timeout=TIMEOUT_S
    )
    np.testing.assert_allclose(
        by_example.outputs["probabilities"].float_val,
        by_image.outputs["probabilities"].float_val,
        rtol=1e-5,
        atol=1e-7,
    )
    assert by_example.model_spec.signature_name == "serving_default"


def test_an_output_filter_chooses(server: Server) -> None:
    response = server.prediction.Predict(
        _spec(output_filter=["predicted_class"]), timeout=TIMEOUT_S
    )
    assert set(response.outputs) == {"predicted_class"}


def test_classify_gives_labels_and_scores(server: Server, test_digits: ImagesAndLabels) -> None:
    images = test_digits.images[:3]
    request = classification_pb2.ClassificationRequest(
        input=_examples(*({"image": image.tobytes()} for image in images))
    )
    request.model_spec.name = "mnist"
    request.model_spec.signature_name = "classify"
    response = server.prediction.Classify(request, timeout=TIMEOUT_S)
    expected = server.prediction.Predict(_request(images=images), timeout=TIMEOUT_S)
    found = response.result.classifications
    assert [one.label for one in found[0].classes] == [str(digit) for digit in range(10)]
    scores = [one.score for entry in found for one in entry.classes]
    np.testing.assert_allclose(
        scores, expected.outputs["probabilities"].float_val, rtol=1e-5, atol=1e-7
    )
    assert response.model_spec.version.value == 4


def test_regress_gives_a_number_for_each_example(server: Server) -> None:
    request = regression_pb2.RegressionRequest(input=_examples({"text": b"abc"}, {"text": b""}))
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "regress"
    response = server.prediction.Regress(request, timeout=TIMEOUT_S)
    assert [one.value for one in response.result.regressions] == [3.0, 0.0]


def test_a_signature_of_tensorflow_2_is_answered(server: Server) -> None:
    """Its method name is Predict's; TF Serving compares it only with a flag."""
    request = regression_pb2.RegressionRequest(input=_examples({"text": b"abc"}))
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "length"
    response = server.prediction.Regress(request, timeout=TIMEOUT_S)
    assert [one.value for one in response.result.regressions] == [3.0]
    multi = _multi(("toy", "length", REGRESS))
    (result,) = server.prediction.MultiInference(multi, timeout=TIMEOUT_S).results
    assert [one.value for one in result.regression_result.regressions] == [2.0]


def test_a_context_is_part_of_every_example(server: Server) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "regress"
    given = request.input.example_list_with_context
    given.context.features.feature["text"].bytes_list.value.append(b"four")
    given.examples.add()
    given.examples.add()
    response = server.prediction.Regress(request, timeout=TIMEOUT_S)
    assert [one.value for one in response.result.regressions] == [4.0, 4.0]


def _multi(*tasks: tuple[str, str, str]) -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest(input=_examples({"text": b"ab"}))
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return request


def test_multi_inference_answers_its_tasks(server: Server) -> None:
    response = server.prediction.MultiInference(
        _multi(("toy", "regress", REGRESS)), timeout=TIMEOUT_S
    )
    (result,) = response.results
    assert [one.value for one in result.regression_result.regressions] == [2.0]
    assert result.model_spec.version.value == 1


def test_multi_inference_runs_signatures_with_inputs_of_their_own(server: Server) -> None:
    """As all signatures of TensorFlow 2 have."""
    tasks = _multi(("toy", "regress", REGRESS), ("toy", "length", REGRESS))
    results = server.prediction.MultiInference(tasks, timeout=TIMEOUT_S).results
    values = [[one.value for one in found.regression_result.regressions] for found in results]
    assert values == [[2.0], [2.0]]
    assert [found.model_spec.signature_name for found in results] == ["regress", "length"]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (
            _multi(("toy", "regress", REGRESS), ("mnist", "classify", CLASSIFY)),
            INVALID,
            "same model",
        ),
        (_multi(("toy", "regress", REGRESS), ("toy", "regress", REGRESS)), INVALID, "Duplicate"),
        (_multi(("toy", "x", REGRESS)), INVALID, "signature not found in model graph: x"),
        (
            _multi(("toy", "regress", "other")),
            grpc.StatusCode.UNIMPLEMENTED,
            "Unsupported signature method_name: other",
        ),
    ],
)
def test_multi_inference_rejects_what_does_not_fit(
    server: Server,
    request_: inference_pb2.MultiInferenceRequest,
    code: grpc.StatusCode,
    message: str,
) -> None:
    found, details = _rejection(server.prediction.MultiInference, request_)
    assert found == code
    assert message in details


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
        (_spec(name=""), INVALID, "ModelSpec has no name specified."),
        (_spec(name="x"), NOT_FOUND, "Servable not found for request: Latest(x)"),
        (_spec(version=7), NOT_FOUND, "Servable not found for request: Specific(mnist, 7)"),
        (_spec(version_label="x"), INVALID, "Unrecognized servable version label: x"),
        (_spec(signature_name="x"), PRECONDITION, 'Serving signature key "x" not found.'),
        (
            _spec(output_filter=["x"]),
            INVALID,
            "output tensor alias not found in signature: x Outputs expected to be in the set "
            "{predicted_class,probabilities}.",
        ),
        (_spec(output_filter=["probabilities"] * 2), INVALID, "duplicate output tensor alias"),
        (_request(), INVALID, "input size does not match signature: 0!=1"),
        (_request(images=ZEROS, more=ZEROS), INVALID, "input size does not match signature: 2!=1"),
        (_request(pictures=ZEROS), INVALID, "pictures"),
        (_request(images=np.zeros((1, 28, 28))), INVALID, ""),
        (_request(images=np.zeros((1, 27, 28), np.uint8)), INVALID, ""),
        (_request(images=np.uint8(3)), INVALID, ""),
        (_request("serving_default", examples=[b"no example"]), INVALID, "parse"),
    ],
)
def test_a_request_that_does_not_fit_gets_tf_servings_code_and_message(
    server: Server, request_: predict_pb2.PredictRequest, code: grpc.StatusCode, message: str
) -> None:
    found, details = _rejection(server.prediction.Predict, request_)
    assert found == code
    assert message in details
    good = server.prediction.Predict(_request(images=ZEROS), timeout=TIMEOUT_S)
    assert good.outputs, "the next good request is answered"


@pytest.mark.parametrize(
    ("model", "signature", "given", "code", "message"),
    [
        (
            "mnist",
            "x",
            _examples({"image": b""}),
            INVALID,
            "No signature was found with the name: x",
        ),
        (
            "mnist",
            "predict_images",
            _examples({}),
            PRECONDITION,
            "No classification inputs found in SignatureDef",
        ),
        ("mnist", "classify", input_pb2.Input(), INVALID, "Input is empty."),
        ("mnist", "classify", _examples({"image": b"short"}), INVALID, "must have 784 bytes"),
        ("x", "classify", _examples({}), NOT_FOUND, "Servable not found for request: Latest(x)"),
    ],
)
def test_classify_rejects_signatures_that_do_not_fit(
    server: Server,
    model: str,
    signature: str,
    given: input_pb2.Input,
    code: grpc.StatusCode,
    message: str,
) -> None:
    request = classification_pb2.ClassificationRequest(input=given)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    found, details = _rejection(server.prediction.Classify, request)
    assert found == code
    assert message in details


def test_an_empty_batch_is_rejected_by_the_server(server: Server) -> None:
    """The server rejects it before a kernel runs; TF Serving itself runs the model."""
    if server.is_tf_serving:
        pytest.skip("TF Serving runs an empty batch; the result depends on the processor")
    for request in (
        _request(images=ZEROS[:0]),
        _request("predict_float_images", images=np.zeros((0, 28, 28), np.float32)),
        _request("serving_default", examples=np.array([], object)),
        _request("serving_default", "toy", a=np.zeros(0, np.float32), b=np.zeros(0, np.float32)),
    ):
        assert _rejection(server.prediction.Predict, request) == (
            INVALID,
            "the batch is empty; expected at least 1 example.",
        )


def test_a_request_larger_than_a_slice_has_the_same_answer(
    server: Server, test_digits: ImagesAndLabels, second_model: Path
) -> None:
    """150 images are three slices of the default size."""
    images = test_digits.images[:150]
    response = server.prediction.Predict(_request(images=images), timeout=TIMEOUT_S)
    found = tf.make_ndarray(response.outputs["probabilities"])
    np.testing.assert_allclose(found, digits_answer(second_model, images), rtol=1e-4, atol=1e-6)
    assert len(response.outputs["predicted_class"].int64_val) == 150


def test_metadata_are_the_signatures(server: Server) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "mnist"
    response = server.prediction.GetModelMetadata(request, timeout=TIMEOUT_S)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 4
    images = signatures.signature_def["predict_images"].inputs["images"]
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 28, 28]
    assert images.dtype == tf.uint8.as_datatype_enum
    del request.metadata_field[:]
    found, details = _rejection(server.prediction.GetModelMetadata, request)
    assert found == INVALID
    assert "at least one metadata_field" in details
    request.metadata_field.append("x")
    found, details = _rejection(server.prediction.GetModelMetadata, request)
    assert (found, details) == (INVALID, "Metadata field x is not supported")


def test_status_is_of_all_versions_whatever_the_label(server: Server) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "mnist"
    request.model_spec.version_label = "stable"
    found = server.model.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status
    assert {(status.version, status.state) for status in found} == {(3, 30), (4, 30)}
    assert {status.status.error_code for status in found} == {0}
    request.model_spec.version.CopyFrom(wrappers_pb2.Int64Value(value=3))
    (status,) = server.model.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status
    assert status.version == 3


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (None, INVALID, "Missing ModelSpec"),
        (model_pb2.ModelSpec(), INVALID, "ModelSpec has no name specified."),
        (model_pb2.ModelSpec(name="x"), NOT_FOUND, "Could not find any versions of model x"),
        (
            model_pb2.ModelSpec(name="mnist", version=wrappers_pb2.Int64Value(value=7)),
            NOT_FOUND,
            "Could not find version 7 of model mnist",
        ),
    ],
)
def test_the_status_of_an_unknown_model_is_not_found(
    server: Server, spec: model_pb2.ModelSpec | None, code: grpc.StatusCode, message: str
) -> None:
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
    assert _rejection(server.model.GetModelStatus, request) == (code, message)


def test_health_is_serving(server: Server) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)
    services = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
    for service in services:
        response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_health_lists_all_services(server: Server) -> None:
    if server.is_tf_serving:
        pytest.skip("TF Serving 2.19 has no Health/List")
    content = server.channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=TIMEOUT_S)

    def fields(message: bytes) -> list[tuple[int, Any]]:
        """Decoded without a declaration of the message."""
        unknown = UnknownFieldSet(empty_pb2.Empty.FromString(message))
        return [(field.field_number, field.data) for field in unknown]

    entries = [dict(fields(entry)) for number, entry in fields(content) if number == 1]
    serving = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
    assert {entry[1].decode(): entry[2] for entry in entries} == dict.fromkeys(
        ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"], serving
    )


def test_reflection_names_the_services(server: Server) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    ask = reflection_pb2.ServerReflectionRequest
    requests = [
        ask(list_services=""),
        ask(file_containing_symbol="tensorflow.serving.PredictionService"),
        ask(file_containing_symbol="tensorflow.serving.ModelService"),
    ]
    listed, *files = stub.ServerReflectionInfo(iter(requests), timeout=TIMEOUT_S)
    names = {service.name for service in listed.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
    assert all(file.file_descriptor_response.file_descriptor_proto for file in files)
