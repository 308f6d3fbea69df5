"""The way to Prefect's server: settings and certificates are made once, and a flow uses the client that created its run.

Invariant: without a configured server there is no client, as Prefect would start a slow server of its own for every attempt.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
from prefect.client import orchestration
from prefect.context import SettingsContext, SyncClientContext, get_settings_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, Settings

from ...api import StageError

#: Seconds to wait for a server that is just starting.
SERVER_WAIT = 15.0

_settings: Settings | None = None
Answer = TypeVar("Answer")


@lru_cache(maxsize=8)
def _verified(cafile: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def _create_default_context(cafile: str | None = None) -> ssl.SSLContext:
    # What is made without a file is changed by the client that asked for it.
    return ssl.create_default_context() if cafile is None else _verified(cafile)


# Every client would read the certificates of all authorities anew, in some 40 ms, also for a server without TLS.
orchestration.ssl = SimpleNamespace(**vars(ssl) | {"create_default_context": _create_default_context})


def prepare() -> None:
    """Makes what the attempts of this process and of its children find made; asks nobody."""
    with settings():
        if PREFECT_API_URL.value():
            orchestration.get_client(sync_client=True)


def rehearse() -> None:
    """Asks the server whether it is there, as a flow would ask it for more."""
    with settings():
        if PREFECT_API_URL.value():
            with orchestration.get_client(sync_client=True) as client:
                client.api_healthcheck()


@contextmanager
def settings() -> Iterator[None]:
    """Prefect's settings without the heartbeat: its thread sleeps for a second and is waited for, so a flow of 0.1 s would
    take 1.1 s. The worker watches the attempt instead. They are made once, as that takes 0.1 s."""
    global _settings
    context = get_settings_context()
    if _settings is None:
        _settings = context.settings.copy_with_update(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with SettingsContext(profile=context.profile, settings=_settings):
        yield


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
            with SyncClientContext.get_or_create() as context:
                begin(context.client)
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
