"""The contract over HTTP: TF Serving's paths, JSON and status codes."""

import base64
import gzip
import math

import httpx
import numpy as np
import pytest
from doubles.model_server import TIMEOUT_S, Server

from components.images.idx_format import ImagesAndLabels

DIGITS = "/v1/models/mnist"
TOY = "/v1/models/toy"


def test_status_and_metadata(server: Server) -> None:
    states = server.get(DIGITS).json()["model_version_status"]
    assert {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    } in states
    assert len(states) == 2
    (one,) = server.get(f"{DIGITS}/versions/4").json()["model_version_status"]
    assert one["version"] == "4"
    document = server.get(f"{DIGITS}/labels/stable/metadata").json()
    assert document["model_spec"] == {"name": "mnist", "signature_name": "", "version": "3"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    images = signatures["predict_images"]["inputs"]["images"]
    assert images["dtype"] == "DT_UINT8"
    assert [dim["size"] for dim in images["tensor_shape"]["dim"]] == ["-1", "28", "28"]


def test_instances_give_predictions_and_inputs_give_outputs(
    server: Server, test_digits: ImagesAndLabels
) -> None:
    images = test_digits.images[:2].tolist()
    body = {"signature_name": "predict_images", "instances": images}
    rows = server.post(f"{DIGITS}:predict", body).json()["predictions"]
    named = {**body, "instances": [{"images": image} for image in images]}
    assert server.post(f"{DIGITS}:predict", named).json()["predictions"] == rows
    body = {"signature_name": "predict_images", "inputs": images}
    columns = server.post(f"{DIGITS}:predict", body).json()["outputs"]
    assert [row["probabilities"] for row in rows] == columns["probabilities"]
    assert [row["predicted_class"] for row in rows] == columns["predicted_class"]
    for row in rows:
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert int(np.argmax(row["probabilities"])) == row["predicted_class"]


def test_versions_and_labels_are_in_the_path(server: Server, test_digits: ImagesAndLabels) -> None:
    body = {"signature_name": "predict_images", "instances": test_digits.images[:1].tolist()}
    by_version = [server.post(f"{DIGITS}/versions/{v}:predict", body).json() for v in (3, 4)]
    by_label = [
        server.post(f"{DIGITS}/labels/{n}:predict", body).json() for n in ("stable", "canary")
    ]
    assert by_version == by_label
    assert by_version[0] != by_version[1]


def test_all_models_are_listed(server: Server) -> None:
    if server.is_tf_serving:
        pytest.skip("TF Serving has no list of models")
    listed = server.get("/v1/models").json()["models"]
    assert [model["name"] for model in listed] == ["mnist", "toy"]
    for model in listed:
        states = server.get(f"/v1/models/{model['name']}").json()["model_version_status"]
        assert model["model_version_status"] == states


def test_bytes_are_base64_and_numbers_are_short(server: Server) -> None:
    coded = {"b64": base64.b64encode(b"\xffz").decode()}
    body = {"signature_name": "double", "instances": ["ab", coded]}
    first, second = server.post(f"{TOY}:predict", body).json()["predictions"]
    assert first == {"double": "abab", "double_bytes": {"b64": base64.b64encode(b"abab").decode()}}
    assert second["double_bytes"] == {"b64": base64.b64encode(b"\xffz\xffz").decode()}
    response = server.post(f"{TOY}:predict", {"instances": [{"a": 0.1, "b": 0.1}]})
    assert response.json()["predictions"][0]["total"] == 0.2
    assert '"total": 0.2\n' in response.text, "not 0.20000000298"


def test_an_output_alone_has_no_name(server: Server) -> None:
    body = {"signature_name": "total", "inputs": [1, 2, 2**40]}
    assert server.post(f"{TOY}:predict", body).json() == {"outputs": 3 + 2**40}


def test_a_list_of_numbers_is_a_column(server: Server) -> None:
    """TF Serving's own first example."""
    body = {"signature_name": "half_plus_two", "instances": [1.0, 2.0, 5.0]}
    assert server.post(f"{TOY}:predict", body).json() == {"predictions": [2.5, 3.0, 4.5]}


def test_nan_and_infinity_pass(server: Server) -> None:
    content = '{"instances": [{"a": NaN, "b": 1.0}, {"a": Infinity, "b": 1.0}]}'
    response = httpx.post(f"{server.rest}{TOY}:predict", content=content)
    first, second = (row["total"] for row in response.json()["predictions"])
    assert math.isnan(first)
    assert second == math.inf


def test_classify_and_regress(server: Server, test_digits: ImagesAndLabels) -> None:
    coded = {"b64": base64.b64encode(test_digits.images[0].tobytes()).decode()}
    body = {"signature_name": "classify", "examples": [{"image": coded}]}
    (pairs,) = server.post(f"{DIGITS}:classify", body).json()["results"]
    assert [label for label, _ in pairs] == [str(digit) for digit in range(10)]
    assert sum(score for _, score in pairs) == pytest.approx(1, abs=1e-5)
    document: dict[str, object] = {
        "signature_name": "regress",
        "context": {"text": "abcd"},
        "examples": [{}, {"text": "a"}],
    }
    assert server.post(f"{TOY}:regress", document).json() == {"results": [4.0, 1.0]}


IMAGES = {"signature_name": "predict_images"}
ROW = [[0] * 28] * 28


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (f"{DIGITS}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (f"{DIGITS}:predict", [1], 400, "Is not object"),
        (f"{DIGITS}:predict", {"instances": [1], "inputs": [1]}, 400, "only one of"),
        (f"{DIGITS}:predict", {"instances": 3}, 400, "'instances' to be an list/array"),
        (f"{DIGITS}:predict", {"instances": []}, 400, "No values in 'instances' array"),
        (f"{DIGITS}:predict", {"signature_name": 3, "instances": [1]}, 400, "must be a string"),
        (f"{DIGITS}:predict", {"signature_name": "x", "instances": [1]}, 400, "not found"),
        (f"{DIGITS}:predict", {**IMAGES, "instances": [ROW[:27]]}, 400, ""),
        (f"{DIGITS}:predict", {**IMAGES, "instances": [[*ROW[:27], [0]]]}, 400, "unexpected size"),
        (f"{DIGITS}:predict", {**IMAGES, "instances": [[["x"] * 28] * 28]}, 400, "expected type"),
        (f"{DIGITS}:predict", {**IMAGES, "instances": [[[0.5] * 28] * 28]}, 400, "expected type"),
        (f"{DIGITS}:predict", {**IMAGES, "inputs": []}, 400, "expected [None, 28, 28]"),
        (f"{TOY}:predict", {"instances": [1, 2]}, 400, "multiple input tensors"),
        (f"{TOY}:predict", {"instances": [{"a": 1.0}]}, 400, ""),
        (f"{DIGITS}:classify", {"signature_name": "classify"}, 400, "examples"),
        (
            "/v1/models/x:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Latest(x)",
        ),
        (f"{DIGITS}/versions/7:predict", {"instances": [1]}, 404, "Specific(mnist, 7)"),
        (
            f"{DIGITS}/labels/x:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: x",
        ),
        (f"{DIGITS}:nothing", {"instances": [1]}, 400, "Malformed request: POST"),
    ],
)
def test_a_request_that_does_not_fit_gets_tf_servings_status_and_message(
    server: Server, path: str, body: object, status: int, message: str
) -> None:
    response = server.post(path, body)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/json")
    assert message in response.json()["error"]
    assert list(response.json()) == ["error"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/x", 404, "Could not find any versions of model x"),
        (f"{DIGITS}/versions/7", 404, "Could not find version 7 of model mnist"),
        (f"{DIGITS}/metadatas", 400, "Malformed request: GET"),
        (f"{DIGITS}/versions/{2**70}", 400, "Failed to convert version"),
        (f"{DIGITS}/versions/٣", 400, "Malformed request: GET"),
    ],
)
def test_the_status_of_an_unknown_model_is_not_found(
    server: Server, path: str, status: int, message: str
) -> None:
    response = server.get(path)
    assert (response.status_code, message in response.json()["error"]) == (status, True)


def test_invalid_json_is_rejected(server: Server) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        response = httpx.post(f"{server.rest}{DIGITS}:predict", content=content)
        assert response.status_code == 400
        assert "JSON Parse error" in response.json()["error"]


def test_a_gzip_body_is_unpacked_up_to_the_limit(server: Server) -> None:
    def post(body: bytes, encoding: str = "gzip") -> httpx.Response:
        url, headers = f"{server.rest}{TOY}:predict", {"Content-Encoding": encoding}
        return httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_S)

    good = gzip.compress(b'{"signature_name": "total", "inputs": [1, 2]}')
    assert post(good).json() == {"outputs": 3}
    bomb = gzip.compress(bytes(200 * 2**20))
    assert len(bomb) < 2**20
    if not server.is_tf_serving:  # whose limits and messages are others
        assert post(bomb).status_code == 413
        for body, encoding, message in (
            (b"no gzip", "gzip", "the body is not valid gzip data"),
            (good[:-9], "gzip", "the body is not complete gzip data"),
            (good + bytes(1000), "gzip", "the body continues after its gzip data"),
            (good, "br", "Content-Encoding is 'br'; expected gzip or none"),
        ):
            response = post(body, encoding)
            assert (response.status_code, response.json()) == (400, {"error": message})


def test_garbage_in_base64_is_rejected(server: Server) -> None:
    garbage = {"b64": base64.b64encode(b"\xff\xfe garbage").decode()}
    response = server.post(f"{DIGITS}:predict", {"instances": [garbage]})
    assert response.status_code == 400
    assert "Could not parse example input" in response.json()["error"]


def test_metrics_have_tf_servings_names(server: Server) -> None:
    def count() -> float:
        text = server.get("/monitoring/prometheus/metrics").text
        key = ':tensorflow:serving:request_count{model_name="toy",status="OK"} '
        return sum(float(line.removeprefix(key)) for line in text.splitlines() if key in line)

    before = count()
    body = {"signature_name": "total", "inputs": [1]}
    assert server.post(f"{TOY}:predict", body).status_code == 200
    assert count() == before + 1
    text = server.get("/monitoring/prometheus/metrics").text
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    assert "# TYPE :tensorflow:serving:request_latency histogram" in text
    counts = [line for line in text.splitlines() if "request_latency_count{" in line]
    assert any('model_name="toy"' in line and 'entrypoint="REST"' in line for line in counts)
