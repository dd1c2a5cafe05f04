"""The errors between a request and its answer.

They carry no status codes: `serving/server/request_handler.py` maps them to gRPC's codes, and
`serving/server/rest/api.py` maps those to HTTP's.
"""

from __future__ import annotations


class ServingError(Exception):
    """States in one sentence what came and what was expected."""


class InvalidRequestError(ServingError):
    """The request does not fit the model's signature, or does not name a model."""


class PreconditionError(ServingError):
    """The request is well-formed, but the signature or version that it needs is missing."""


class ModelNotFoundError(ServingError):
    """The model, or that version of it, does not exist."""


class NotSupportedError(ServingError):
    """The server does not implement this request."""


class ForbiddenError(ServingError):
    """The server is not configured to accept this request."""


class OverloadedError(ServingError):
    """Too many requests are waiting."""


class TooLargeError(ServingError):
    """The request exceeds a limit of the server."""


class ModelLoadError(ServingError):
    """A version's folder does not contain a SavedModel that can be loaded and warmed up."""


class ServerUnavailableError(ServingError):
    """The server cannot be reached, or did not answer in time."""


class ServerStartError(ServingError):
    """A model server could not be started."""
