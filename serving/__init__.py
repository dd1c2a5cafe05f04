"""Serving a pushed model: the client, the launcher of a model server, and the embedded server."""
