"""gRPC's standard health service, with the messages of grpcio-health-checking.

That package's own servicer tells the other callers of Watch nothing more after one of them has
ended, and never ends their calls, so that every stop of the server would take the whole grace. The
releases that fit TensorFlow's protobuf also lack the method List; its response is declared here,
with the fields of gRPC's health.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

_PACKAGE: Final = "grpc.health.v1"
_LIST_RESPONSE: Final = "HealthListResponse"
_Field = descriptor_pb2.FieldDescriptorProto
_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The health of the server (the empty name) and of its services.

    Args:
      services: the full names of the services.
    """

    def __init__(self, services: tuple[str, ...]):
        self._services = (health.OVERALL_HEALTH, *services)
        self._changed = asyncio.Condition()  # guards the two below
        self._status = _Response.NOT_SERVING
        self._is_stopped = False
        self._list_response = _list_response()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server that is not started yet."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)
        handlers = {"List": grpc.unary_unary_rpc_method_handler(self._list)}
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers)]
        )

    async def set(self, is_ready: bool) -> None:
        """Sets the health of the server and of all services; after `stop`, changes nothing."""
        async with self._changed:
            if not self._is_stopped:
                self._status = _Response.SERVING if is_ready else _Response.NOT_SERVING
                self._changed.notify_all()

    async def stop(self) -> None:
        """Reports NOT_SERVING from now on, and ends the calls of Watch."""
        async with self._changed:
            self._status = _Response.NOT_SERVING
            self._is_stopped = True
            self._changed.notify_all()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """The health of a service."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service}")
        return _Response(status=self._status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, _: grpc.aio.ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The health of a service, now and at each change, until the server stops."""
        reported: int | None = None
        is_last = False
        while not is_last:
            status, is_last = await self._change(request.service, reported)
            if status != reported:
                yield _Response(status=status)
            reported = status

    async def _change(self, service: str, reported: int | None) -> tuple[int, bool]:
        """Waits for a status that was not reported yet; returns it, and whether it is the last."""

        def status() -> int:
            known = service in self._services
            return int(self._status if known else _Response.SERVICE_UNKNOWN)

        async with self._changed:
            await self._changed.wait_for(lambda: self._is_stopped or status() != reported)
            return status(), self._is_stopped

    async def _list(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        response = self._list_response()
        for service in self._services:
            response.statuses[service].status = self._status  # type: ignore[attr-defined]
        return bytes(response.SerializeToString())


def _list_response() -> type[Message]:
    """HealthListResponse: `map<string, HealthCheckResponse> statuses = 1`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="mnist_tfx/health_list.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[health_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name=_LIST_RESPONSE)
    entry = message.nested_type.add(name="StatusesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    entry.field.add(
        name="value",
        number=2,
        label=_Field.LABEL_OPTIONAL,
        type=_Field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.HealthCheckResponse",
    )
    message.field.add(
        name="statuses",
        number=1,
        label=_Field.LABEL_REPEATED,
        type=_Field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.{_LIST_RESPONSE}.StatusesEntry",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    declared = pool.FindMessageTypeByName(f"{_PACKAGE}.{_LIST_RESPONSE}")
    found: type[Message] = message_factory.GetMessageClass(declared)
    return found
