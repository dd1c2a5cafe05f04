"""Images to requests, and responses to probabilities. No connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client import protocol
from serving.errors import InvalidRequestError
from trainer import features

_ROUNDING: Final = 1e-6  # the excess over 1 that float arithmetic may cause


@dataclass(frozen=True)
class Prediction:
    """One answer: `probabilities` is float32 [batch, 10], each row sums to 1."""

    probabilities: NDArray[np.float32]
    version: int
    latency_s: float
    """From the call to its answer, including retries."""

    @property
    def digits(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 [batch]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @classmethod
    def from_response(cls, response: Any, latency_s: float) -> Prediction:
        """From a PredictResponse."""
        probabilities = _array(response.outputs[features.PROBABILITIES])
        return cls(probabilities, response.model_spec.version.value, latency_s)


def outputs(response: Any) -> dict[str, NDArray[np.float32]]:
    """The float32 outputs of a PredictResponse, by name."""
    found = response.outputs.items()
    return {name: _array(tensor) for name, tensor in found if tensor.dtype == protocol.DT_FLOAT}


def predict_request(
    model: str,
    images: ArrayLike,
    version: int | None = None,
    label: str | None = None,
    signature: str | None = None,
) -> Any:
    """A PredictRequest for images.

    Args:
      model: the model's name.
      images: [batch, 28, 28]; uint8 in 0..255, or floating point in [0, 1].
      version: the version to ask; the newest if neither `version` nor `label` is given.
      label: the label of the version to ask.
      signature: the signature to run; None for the probabilities.

    Raises:
      InvalidRequestError: the shape, the type or the range of the images is wrong, or both
        `version` and `label` are given.
    """
    if version is not None and label is not None:
        raise InvalidRequestError(
            f"version {version} and label {label} are both given; give only one of them."
        )
    default, pixels = _checked(_array_of(images))
    request = protocol.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature or default
    if version is not None:
        request.model_spec.version.value = version
    elif label is not None:
        request.model_spec.version_label = label
    tensor = request.inputs[features.IMAGES]
    tensor.dtype = protocol.DT_UINT8 if pixels.dtype == np.uint8 else protocol.DT_FLOAT
    for size in pixels.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = np.ascontiguousarray(pixels).tobytes()
    return request


def _array(tensor: Any) -> NDArray[np.float32]:
    """A TensorProto of type float32."""
    values = (
        np.frombuffer(tensor.tensor_content, np.float32)
        if tensor.tensor_content
        else np.array(tensor.float_val, np.float32)
    )
    return values.reshape([dim.size for dim in tensor.tensor_shape.dim])


def _array_of(images: ArrayLike) -> NDArray[np.generic]:
    try:
        return np.asarray(images)
    except ValueError as error:
        raise InvalidRequestError(f"the images cannot be converted to an array: {error}") from error


def _checked(images: NDArray[np.generic]) -> tuple[str, NDArray[np.generic]]:
    """The signature for images, and the images in the type that it takes."""
    expected = (features.HEIGHT_PX, features.WIDTH_PX)
    if images.ndim != 3 or images.shape[1:] != expected:
        raise InvalidRequestError(
            f"the shape of the images is {list(images.shape)}; expected [batch, {expected[0]}, "
            f"{expected[1]}]."
        )
    if not len(images):
        raise InvalidRequestError("the batch is empty; expected at least 1 image.")
    if images.dtype == np.uint8:
        return features.PREDICT_IMAGES, images
    if not np.issubdtype(images.dtype, np.floating):
        raise InvalidRequestError(
            f"the type of the images is {images.dtype}; expected uint8 in 0..255 or floats in "
            "[0, 1]."
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1 + _ROUNDING):  # False for NaN, too
        raise InvalidRequestError(
            f"the pixels are floats from {low:g} to {high:g}; expected [0, 1]. Divide by 255, or "
            "send uint8."
        )
    return features.PREDICT_FLOAT_IMAGES, images.astype(np.float32)
