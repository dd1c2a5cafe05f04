"""TF Serving's services as descriptors, which is what gRPC reflection shows.

`tensorflow-serving-api` has modules for them that cannot be imported with today's protobuf.
"""

from __future__ import annotations

from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

PACKAGE: Final = "tensorflow.serving"
PREDICTION_SERVICE: Final = f"{PACKAGE}.PredictionService"
MODEL_SERVICE: Final = f"{PACKAGE}.ModelService"

# For each service, its file, and each method with what its messages are called before
# "Request" and "Response".
_SERVICES: Final = {
    "PredictionService": (
        "tensorflow_serving/apis/prediction_service.proto",
        {
            "Classify": "Classification",
            "Regress": "Regression",
            "Predict": "Predict",
            "MultiInference": "MultiInference",
            "GetModelMetadata": "GetModelMetadata",
        },
    ),
    "ModelService": (
        "tensorflow_serving/apis/model_service.proto",
        {"GetModelStatus": "GetModelStatus", "HandleReloadConfigRequest": "ReloadConfig"},
    ),
}
_MESSAGES: Final = (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)


def pool() -> descriptor_pool.DescriptorPool:
    """All descriptors that are known, and those of the services."""
    known = descriptor_pool.Default()
    for name, (path, methods) in _SERVICES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=path,
            package=PACKAGE,
            dependency=[module.DESCRIPTOR.name for module in _MESSAGES],
            syntax="proto3",
        )
        service = file.service.add(name=name)
        for method, message in methods.items():
            service.method.add(
                name=method,
                input_type=f".{PACKAGE}.{message}Request",
                output_type=f".{PACKAGE}.{message}Response",
            )
        known.Add(file)
    return known
