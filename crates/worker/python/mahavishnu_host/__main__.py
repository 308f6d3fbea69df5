"""Entry: `python -m mahavishnu_host --engine NAME --socket PATH --isolation process|shared [--module PLACE]`.

Order matters: the standard streams are redirected before any engine is imported, and the heap is frozen
before the first fork, so that children share its pages.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import platform
import signal
import socket
import sys
import time
import traceback
from importlib import metadata
from types import ModuleType
from typing import Any

from . import references, supported, system, tracing
from .attempt import Host
from .framing import encode
from .server import ForkServer
from .shared import SharedServer

EXIT_ENGINE_UNAVAILABLE = 3


def main() -> int:
    arguments = _arguments()
    system.redirect_standard_streams()
    system.explain_crashes()
    forker = system.Forker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the worker's to handle
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # children end with us
    began = time.monotonic()
    try:
        engine = _engine(arguments)
        tracer = tracing.prepare(arguments.engine)
        engine.prewarm()
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, SystemExit too
        return _unavailable(arguments.socket, error)
    gc.collect()
    gc.freeze()
    connection = _connect(arguments.socket)
    hello = {
        "t": "server_hello",
        "pid": os.getpid(),
        "versions": _versions(engine),
        "warm_ms": round((time.monotonic() - began) * 1000),
    }
    connection.sendall(encode(hello))
    host = Host(engine, tracer, arguments.socket)
    server: Any = None
    if arguments.isolation == "shared":
        server = SharedServer(host, connection)
    else:
        server = ForkServer(host, connection, forker)
    try:
        server.run()
    finally:
        server.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mahavishnu_host", description="The engine host of a Mahavishnu worker.")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--isolation", choices=("process", "shared"), default="process")
    parser.add_argument("--module", help="an engine of the project's own: path.py or package.module")
    parser.add_argument("--project", default=".", help="the project directory, for --module")
    return parser.parse_args()


def _engine(arguments: argparse.Namespace) -> ModuleType:
    """One of ours by its name, or the project's own by its place."""
    if arguments.module is None:
        supported.check(arguments.engine)
        return importlib.import_module(f"mahavishnu_host.engines.{arguments.engine}")
    engine = references.load(arguments.module, arguments.project, "--module")
    missing = [name for name in ("NAME", "PACKAGES", "prewarm", "run") if not hasattr(engine, name)]
    if missing:
        raise AttributeError(f"{arguments.module} is no engine module: it has no {', '.join(missing)}")
    return engine


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    return connection


def _unavailable(path: str, error: BaseException) -> int:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    print(text, file=sys.stderr)
    known = isinstance(error, supported.Unsupported)
    frame = {
        "t": "server_error",
        "reason": error.reason if known else "ENGINE_UNAVAILABLE",
        "message": str(error) if known else f"{type(error).__name__}: {error}",
        "traceback": text[-16_000:],
    }
    with _connect(path) as connection:
        connection.sendall(encode(frame))
    return EXIT_ENGINE_UNAVAILABLE


def _versions(engine: ModuleType) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in engine.PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


if __name__ == "__main__":
    sys.exit(main())
