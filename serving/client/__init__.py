"""A client for the served model: images in, probabilities out, over gRPC.

Every call has a deadline. UNAVAILABLE is retried within it, with growing pauses; other errors are
not. `Client` is for threads, `AsyncClient` for asyncio. TensorFlow is not needed.
"""

from serving.client.async_client import AsyncClient
from serving.client.channel import Tls
from serving.client.predictions import Prediction
from serving.client.sync_client import Client

__all__ = ["AsyncClient", "Client", "Prediction", "Tls"]
