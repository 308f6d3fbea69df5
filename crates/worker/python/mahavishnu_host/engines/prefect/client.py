"""The way to Prefect's server: settings and certificates are made once, clients go from one flow to the next, and a flow uses the
one that created its run.

Invariants: without a configured server there is no client, as Prefect would start a slow server of its own for every attempt. A
client is one flow's at a time.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
from prefect.client import orchestration
from prefect.context import SettingsContext, SyncClientContext, get_settings_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    Settings,
)

from ...api import StageError

#: Seconds to wait for a server that is just starting.
SERVER_WAIT = 15.0

_settings: Settings | None = None
#: The same for a rehearsal.
_rehearsing: Settings | None = None
#: Open clients that no flow uses now.
_idle: list[SyncClientContext] = []
Answer = TypeVar("Answer")


@lru_cache(maxsize=8)
def _verified(cafile: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def _create_default_context(cafile: str | None = None) -> ssl.SSLContext:
    # What is made without a file is changed by the client that asked for it.
    return ssl.create_default_context() if cafile is None else _verified(cafile)


# Every client would read the certificates of all authorities anew, in some 40 ms, also for a server without TLS.
orchestration.ssl = SimpleNamespace(**vars(ssl) | {"create_default_context": _create_default_context})


def is_configured() -> bool:
    return bool(PREFECT_API_URL.value())


def prepare() -> None:
    """Makes what the attempts of this process and of its children find made; asks nobody."""
    global _rehearsing
    if is_configured():
        with settings() as made:
            orchestration.get_client(sync_client=True)
            # Whether the server's version is right is remembered, and a rehearsal's says nothing about it.
            asks_less = {PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
            _rehearsing = made.copy_with_update(updates=asks_less)


@contextmanager
def unheard(answer: Callable[[httpx.Request], httpx.Response]) -> Iterator[None]:
    """Flows that run meanwhile, in a process that runs nothing else, talk to `answer` and log nothing."""
    global _settings
    in_earnest, _settings = _settings, _rehearsing
    with settings():
        context = _opened(httpx_settings={"transport": httpx.MockTransport(answer), "trust_env": False})
    context._httpx_settings = None  # those that ask for a client name no settings
    _idle.append(context)
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        _settings = in_earnest
        with suppress(ValueError):  # it failed
            _idle.remove(context)


def connect() -> None:
    """Makes clients for the next flow and for what it logs, and asks the server whether it is there, as the flow would ask for more.
    What is wrong shows in earnest."""
    with suppress(httpx.TransportError, RuntimeError), settings(), _client() as client:
        if PREFECT_LOGGING_TO_API_ENABLED.value():
            APILogWorker.instance()
        client.api_healthcheck()


@contextmanager
def settings() -> Iterator[Settings]:
    """Prefect's settings without the heartbeat: its thread sleeps for a second and is waited for, so a flow of 0.1 s would
    take 1.1 s. The worker watches the attempt instead. They are made once, as that takes 0.1 s."""
    global _settings
    context = get_settings_context()
    if _settings is None:
        _settings = context.settings.copy_with_update(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with SettingsContext(profile=context.profile, settings=_settings):
        yield _settings


@contextmanager
def _client() -> Iterator[Any]:
    """A client that is nobody else's meanwhile and, in this context, that of the flows that run here. One that served well serves
    the next flow: making it and its connection takes 3 ms."""
    try:
        context = _idle.pop()
    except IndexError:
        context = _opened()
    try:
        with context:
            yield context.client
    except BaseException:
        context.client.__exit__(None, None, None)
        raise
    _idle.append(context)


def _opened(**given: Any) -> SyncClientContext:
    context = SyncClientContext(**given)
    context.client.__enter__()  # so that it is still open when a flow has left it
    return context


def api_url() -> str:
    url = PREFECT_API_URL.value()
    if not url:
        message = "no Prefect server is configured: PREFECT_API_URL is not set in the engine host's environment"
        raise StageError("PREFECT_UNAVAILABLE", message, retryable=True)
    return url


def connected(begin: Callable[[Any], None], go_on: Callable[[], Answer]) -> Answer:
    """What `go_on` gives, after `begin` with a client, which is the one of a flow that runs meanwhile as well. `begin` is called
    again while the server does not answer. To be called in a thread."""
    url = api_url()
    end = time.monotonic() + SERVER_WAIT
    while True:
        begun = False
        try:
            with _client() as client:
                begin(client)
                begun = True
                return go_on()
        except (httpx.ConnectError, RuntimeError) as error:
            if begun or not _is_unreachable(error):
                raise
            if time.monotonic() > end:
                message = f"the Prefect server at {url} does not answer: {type(error).__name__}: {error}"
                raise StageError("PREFECT_UNAVAILABLE", message, retryable=True) from error
            time.sleep(0.2)


@contextmanager
def unavailable() -> Iterator[None]:
    """A server that went away between two requests."""
    try:
        yield
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        raise StageError("PREFECT_UNAVAILABLE", f"the Prefect server failed: {error}", retryable=True) from error


def _is_unreachable(error: Exception) -> bool:
    return isinstance(error, httpx.ConnectError) or "Failed to reach API" in str(error)
