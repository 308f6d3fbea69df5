"""A client of any gRPC server that knows nothing beforehand: everything comes by reflection.

    python grpcurl.py -plaintext [-d DATA] [-reflection v1|v1alpha] ADDRESS list
    python grpcurl.py -plaintext [-d DATA] [-reflection v1|v1alpha] ADDRESS SERVICE/METHOD

The command line and the output are those of grpcurl, as far as the README uses them. DATA is JSON, one message or
several in a row, `@` is standard input. An error ends with 64 plus its code.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2 as wire



class Reflection:
    """What a server says of itself. The messages of both versions are the same, only the path is not."""

    def __init__(self, channel: grpc.Channel, version: str) -> None:
        self._call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=wire.ServerReflectionRequest.SerializeToString,
            response_deserializer=wire.ServerReflectionResponse.FromString,
        )
        self.pool = descriptor_pool.DescriptorPool()
        self._added: set[str] = set()

    def services(self) -> list[str]:
        answer = self._ask(wire.ServerReflectionRequest(list_services=""))
        return sorted(service.name for service in answer.list_services_response.service)

    def method(self, name: str) -> MethodDescriptor:
        """`package.Service/Method` or `package.Service.Method`."""
        service, _, method = name.replace("/", ".").rpartition(".")
        self._add(wire.ServerReflectionRequest(file_containing_symbol=service))
        return self.pool.FindServiceByName(service).methods_by_name[method]

    def _add(self, request: wire.ServerReflectionRequest) -> None:
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in self._ask(request).file_descriptor_response.file_descriptor_proto
        ]
        for file in files:
            if file.name in self._added:
                continue
            self._added.add(file.name)
            for needed in file.dependency:
                if needed not in self._added:
                    self._add(wire.ServerReflectionRequest(file_by_filename=needed))
            self.pool.Add(file)

    def _ask(self, request: wire.ServerReflectionRequest) -> wire.ServerReflectionResponse:
        (answer,) = self._call(iter([request]))
        if answer.HasField("error_response"):
            sys.exit(f"reflection: {answer.error_response.error_message}")
        return answer


def main() -> int:
    options = _options()
    with grpc.insecure_channel(options.address, options=[("grpc.max_receive_message_length", 64 << 20)]) as channel:
        reflection = Reflection(channel, options.reflection)
        if options.what == "list":
            print("\n".join(reflection.services()))
            return 0
        return _call(channel, reflection.method(options.what), sys.stdin.read() if options.data == "@" else options.data)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="grpcurl")
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-d", dest="data", default="{}")
    parser.add_argument("-reflection", choices=("v1", "v1alpha"), default="v1")
    parser.add_argument("address")
    parser.add_argument("what")
    return parser.parse_args()


def _call(channel: grpc.Channel, method: MethodDescriptor, data: str) -> int:
    make = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    # Every kind of call is a stream of requests and of answers, of one each where it is not.
    call = channel.stream_stream(path, request_serializer=make.SerializeToString, response_deserializer=answer.FromString)
    requests = [json_format.ParseDict(value, make()) for value in _values(data)]
    try:
        for message in call(iter(requests)):
            print(json.dumps(json_format.MessageToDict(message), indent=2, ensure_ascii=False), flush=True)
    except grpc.RpcError as error:
        print(f"ERROR:\n  Code: {error.code().name}\n  Message: {error.details()}", file=sys.stderr)
        return 64 + error.code().value[0]
    return 0


def _values(data: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    rest = data.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip()


if __name__ == "__main__":
    sys.exit(main())
