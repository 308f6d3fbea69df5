"""A Prefect server as a child process: one machine, one SQLite file, no account and no network.

    PYTHONPATH=<this directory's parent> <python> -m mahavishnu_host.prefect_server --data DIR [--port 0]

When the server answers, one line is printed: `{"url": "http://127.0.0.1:4242/api", "health": "...", "pid": 1}`.
`--prepare` creates the database (about 10 s, once) and exits, so that a later start takes 3 s.

Invariants: standard output carries that one line and nothing else; the server never outlives the process that
started it; one server at a time uses a data directory (a second one waits, then exits with 75).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import supported

#: Seconds to wait for the data directory. Whoever stops a server waits for its end, so this is only for the
#: moment in which a killed one still dies; a caller that gets no answer takes another directory.
LOCK_WAIT = 2.0
#: Seconds between the request to stop and the end of the process, whatever still hangs.
STOP_WAIT = 5.0
#: Seconds that a transaction waits for its turn.
TURN_WAIT = 10.0
#: The exit status that says "try again later".
EX_TEMPFAIL = 75
#: The one that says that this environment will not do.
EX_CONFIG = 78

#: Services of the server that only serve deployments, automations and the vendor. The two that write task
#: runs and events stay.
UNUSED_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        supported.check("prefect")
    except supported.Unsupported as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return EX_CONFIG
    _end_with_parent(os.getppid())
    data = Path(options.data).resolve()
    data.mkdir(parents=True, exist_ok=True)
    lock = _lock(data / "server.lock")
    if lock is None:
        print(f"another Prefect server uses {data}", file=sys.stderr)
        return EX_TEMPFAIL
    _settings(data, not options.no_ui)
    _write_first()
    return _serve(options, out)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mahavishnu_host.prefect_server")
    parser.add_argument("--data", required=True, help="directory of the database; created if it is not there")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--no-ui", action="store_true", help="do not serve Prefect's own user interface")
    parser.add_argument("--prepare", action="store_true", help="only create the database")
    return parser.parse_args(arguments)


def _end_with_parent(parent: int) -> None:
    """Stops this process when `parent` ends. A pidfd, as PR_SET_PDEATHSIG follows the parent's *thread*,
    and the thread that started us may be a short-lived one of a pool."""

    def wait() -> None:
        try:
            poll = select.poll()
            poll.register(os.pidfd_open(parent), select.POLLIN)
            if os.getppid() == parent:
                poll.poll()
        except (AttributeError, OSError):
            while os.getppid() == parent:
                time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_WAIT)
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _lock(path: Path) -> Any:
    """The open, locked file; `None` when another process keeps it."""
    file = path.open("w")
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > end:
                return None
            time.sleep(0.1)


def _settings(data: Path, ui: bool) -> None:
    """Prefect reads its settings when it is imported; what the caller's environment says is for its clients."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(
        DO_NOT_TRACK="1",
        PREFECT_HOME=str(data),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_DATABASE_CONNECTION_URL=f"sqlite+aiosqlite:///{data / 'prefect.db'}",
        PREFECT_SERVER_LOGGING_LEVEL="WARNING",
        PREFECT_SERVER_UI_ENABLED=str(ui).lower(),
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in UNUSED_SERVICES},
    )


def _write_first() -> None:
    """Lets transactions write one after the other, each holding SQLite's write lock from its beginning.

    Prefect reads first and then writes; when another transaction wrote in between, SQLite refuses the write
    at once (SQLITE_BUSY_SNAPSHOT), the server answers 503 and the client waits for seconds: 9 of 30 flows in
    three processes, one for 36 s. All writers are on the server's one event loop, so they queue here; SQLite
    itself would let them poll.
    """
    import asyncio
    from contextlib import asynccontextmanager

    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction
    turn = asyncio.Semaphore(1)

    @asynccontextmanager
    async def begin_in_turn(self: Any, session: Any, with_for_update: bool = False) -> Any:
        try:
            await asyncio.wait_for(turn.acquire(), TURN_WAIT)
            mine = True
        except asyncio.TimeoutError:
            mine = False  # SQLite's own lock decides; a transaction inside another must not wait for ever
        try:
            async with begin(self, session, with_for_update=True) as transaction:
                yield transaction
        finally:
            if mine:
                turn.release()

    AioSqliteConfiguration.begin_transaction = begin_in_turn  # type: ignore[method-assign]


def _serve(options: argparse.Namespace, out: int) -> int:
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if not self.started:
                return
            if options.prepare:
                self.should_exit = True
                return
            port = self.servers[0].sockets[0].getsockname()[1]
            url = f"http://{options.host}:{port}/api"
            line = json.dumps({"url": url, "health": f"{url}/health", "pid": os.getpid()}) + "\n"
            os.write(out, line.encode())

    server = Server(
        uvicorn.Config(
            create_app(final=True),
            host=options.host,
            port=options.port,
            log_level="warning",
            timeout_graceful_shutdown=int(STOP_WAIT) - 2,
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
