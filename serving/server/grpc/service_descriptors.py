"""The descriptors of TF Serving's services, for gRPC reflection.

`tensorflow-serving-api` has modules for them, but they cannot be imported with protobuf 6.
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

# For each service: its file, and for each method the name of its messages without the suffixes
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
    """The default pool, with the descriptors of the services added."""
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
