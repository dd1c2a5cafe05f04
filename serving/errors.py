"""What can go wrong between a request and an answer. No gRPC codes: the servicer has that table."""

from __future__ import annotations


class ServingError(Exception):
    """Says in one sentence what came and what was expected."""


class InvalidRequestError(ServingError):
    """The request does not fit the model's signature, or names no model."""


class UnknownSignatureError(ServingError):
    """The model has no signature of this name."""


class ModelNotFoundError(ServingError):
    """There is no such model, or it has no such version."""


class ModelLoadError(ServingError):
    """A version's folder does not hold a SavedModel that can be loaded."""


class ServerUnavailableError(ServingError):
    """The server could not be reached, or did not answer in time."""


class ServerStartError(ServingError):
    """A model server could not be started."""
