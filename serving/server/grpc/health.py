"""gRPC's standard health service, with its newest method, List.

The releases of grpcio-health-checking that fit TensorFlow's protobuf lack List. Its response is
therefore declared here, with the fields of gRPC's health.proto.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

_PACKAGE: Final = "grpc.health.v1"
_LIST_RESPONSE: Final = "HealthListResponse"
_Field = descriptor_pb2.FieldDescriptorProto
_Status = health_pb2.HealthCheckResponse


class Health:
    """The health of the server (the empty name) and of its services.

    Args:
      services: the full names of the services.
    """

    def __init__(self, services: tuple[str, ...]):
        self._servicer = health.aio.HealthServicer()
        self._statuses = dict.fromkeys((health.OVERALL_HEALTH, *services), _Status.NOT_SERVING)
        self._is_stopped = False
        self._list_response = _list_response()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server that is not started yet."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        handlers = {"List": grpc.unary_unary_rpc_method_handler(self._list)}
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers)]
        )

    async def set(self, is_ready: bool) -> None:
        """Sets the health of the server and of all services; after `stop`, changes nothing."""
        if not self._is_stopped:
            await self._set(is_ready)

    async def stop(self) -> None:
        """Reports NOT_SERVING from now on."""
        self._is_stopped = True
        await self._set(False)
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, is_ready: bool) -> None:
        for service in self._statuses:
            status = _Status.SERVING if is_ready else _Status.NOT_SERVING
            self._statuses[service] = status
            await self._servicer.set(service, status)

    async def _list(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        response = self._list_response()
        for service, status in self._statuses.items():
            response.statuses[service].status = status  # type: ignore[attr-defined]
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
