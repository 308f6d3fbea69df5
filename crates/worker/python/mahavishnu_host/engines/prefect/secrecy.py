"""Keeps the values of a task's secrets out of what Prefect keeps.

Prefect's server stores the parameters of flow runs, states with their messages, logs and artifacts, and everything that
it is told of goes through the clients of this process: requests over HTTP, events over a socket. The values are struck
out there. A result that holds a value is not persisted, so that it is computed anew where it would have been read.

Invariant: what was once a secret stays one as long as the process lives. Not found is what was made from a value.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import cloudpickle
import httpx
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
from prefect.events.clients import EventsClient
from prefect.results import ResultStore

STRUCK_OUT = "***"

_values: set[str] = set()


def keep_out(values: Collection[str]) -> None:
    """From now on these are not told."""
    if values and not _values:
        _install()
    _values.update(values)


def hidden(value: Any) -> Any:
    """A JSON value without the secrets."""
    if isinstance(value, str):
        for secret in sorted(_values, key=len, reverse=True):
            for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
                value = value.replace(form, STRUCK_OUT)
        return value
    if isinstance(value, list):
        return [hidden(item) for item in value]
    if isinstance(value, dict):
        return {hidden(key): hidden(member) for key, member in value.items()}
    # A secret of digits may have become a number.
    return STRUCK_OUT if isinstance(value, (int, float)) and str(value) in _values else value


def _install() -> None:
    asynchronous, synchronous, emit = PrefectHttpxAsyncClient.send, PrefectHttpxSyncClient.send, EventsClient.emit
    persist, apersist = ResultStore.persist_result_record, ResultStore.apersist_result_record

    async def send(self: Any, request: httpx.Request, *args: Any, **kwargs: Any) -> Any:
        return await asynchronous(self, _request(request), *args, **kwargs)

    def send_sync(self: Any, request: httpx.Request, *args: Any, **kwargs: Any) -> Any:
        return synchronous(self, _request(request), *args, **kwargs)

    async def emit_event(self: Any, event: Any) -> None:
        await emit(self, type(event).model_validate(hidden(event.model_dump(mode="json"))))

    def persist_record(self: Any, result_record: Any, holder: str | None = None) -> None:
        if not _holds_secret(result_record.result):
            persist(self, result_record, holder)

    async def apersist_record(self: Any, result_record: Any, holder: str | None = None) -> None:
        if not _holds_secret(result_record.result):
            await apersist(self, result_record, holder)

    PrefectHttpxAsyncClient.send, PrefectHttpxSyncClient.send = send, send_sync  # type: ignore[method-assign]
    EventsClient.emit = emit_event  # type: ignore[method-assign]
    ResultStore.persist_result_record = persist_record  # type: ignore[method-assign]
    ResultStore.apersist_result_record = apersist_record  # type: ignore[method-assign]


def _request(request: httpx.Request) -> httpx.Request:
    """The request with its body, which is JSON, and address struck out."""
    body = request.read()
    try:
        content = json.loads(body) if body else None
    except ValueError:
        return request
    clean = hidden(content)
    if clean == content:
        return request
    headers = request.headers.copy()
    headers.pop("content-length", None)
    content = json.dumps(clean).encode()
    return httpx.Request(request.method, request.url, headers=headers, content=content, extensions=request.extensions)


def _holds_secret(result: Any) -> bool:
    data = cloudpickle.dumps(result)
    return any(secret.encode() in data for secret in _values)
