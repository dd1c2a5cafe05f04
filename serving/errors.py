"""What can go wrong between a request and an answer.

No status codes: the server has one table that turns these into gRPC's and HTTP's.
"""

from __future__ import annotations


class ServingError(Exception):
    """Says in one sentence what came and what was expected."""


class InvalidRequestError(ServingError):
    """The request does not fit the model's signature, or names no model."""


class PreconditionError(ServingError):
    """The request could be right, and what it needs is not there: a signature, a version."""


class ModelNotFoundError(ServingError):
    """There is no such model, or it has no such version."""


class NotSupportedError(ServingError):
    """Nothing here does what was asked for."""


class OverloadedError(ServingError):
    """Too many requests are waiting already."""


class ModelLoadError(ServingError):
    """A version's folder does not hold a SavedModel that can be loaded and warmed up."""


class ServerUnavailableError(ServingError):
    """The server could not be reached, or did not answer in time."""


class ServerStartError(ServingError):
    """A model server could not be started."""
