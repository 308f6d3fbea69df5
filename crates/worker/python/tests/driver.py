"""Plays the worker: a unix socket, a real host process, real engines. Standard library only.

`MAHAVISHNU_TEST_ENVS` is a directory with one environment per engine (`langgraph`, `agno`) and one for
the local model (`model`), each made from its requirements.lock. Without it the tests are skipped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import struct
import tempfile
import time
import unittest
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
PROJECT = TESTS / "project"
MODEL_SERVER = TESTS.parents[2] / "provision" / "model" / "serve.py"
LAST = ("done", "error", "cancelled", "paused")
#: Generous: hosts import for seconds on a cold machine.
PATIENCE = 90.0


def interpreter(engine: str) -> str:
    """The Python of an engine's environment, or the test is skipped."""
    directory = os.environ.get("MAHAVISHNU_TEST_ENVS")
    python = Path(directory, engine, "bin", "python") if directory else None
    if python is None or not python.exists():
        raise unittest.SkipTest(f"MAHAVISHNU_TEST_ENVS has no environment for {engine}")
    return str(python)


class Connection:
    """Frames over one accepted connection. What has arrived is read, also when something could not be sent: asyncio's own
    streams drop it then, and a host that ends while its call is answered seems to end without a word."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self._socket, self._buffer = accepted, bytearray()
        self.closed = False

    async def receive(self) -> dict[str, Any] | None:
        head = await self._exactly(4)
        body = head and await self._exactly(struct.unpack(">I", head)[0])
        return json.loads(body, parse_constant=_refuse) if body else None

    async def send(self, frame: dict[str, Any]) -> None:
        body = json.dumps(frame).encode()
        await asyncio.get_running_loop().sock_sendall(self._socket, struct.pack(">I", len(body)) + body)

    def close(self) -> None:
        """Whoever receives learns of the end, and nothing is left open."""
        self.closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was quicker

    async def _exactly(self, length: int) -> bytes | None:
        while len(self._buffer) < length:
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._buffer += data
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken


class Checkpoints:
    """What a stage has stored; the real store is the worker's, see the end-to-end tests."""

    def __init__(self) -> None:
        self.records: dict[int, dict[str, Any]] = {}
        self.last = 0

    def answer(self, method: str, params: dict[str, Any], turn: dict[str, int]) -> Any:
        if method == "checkpoints_open":
            return {"entries": [{k: v for k, v in record.items() if k not in ("body", "values")} for record in self.records.values()]}
        if method == "checkpoints_save":
            self.last += 1
            self.records[self.last] = params | turn | {"position": self.last}
            return {"position": self.last}
        if method == "checkpoints_read":
            return {"body": self.records[params["position"]]["body"]}
        assert method == "checkpoints_delete", method
        for position in params["positions"]:
            self.records.pop(position, None)
        return None


class States:
    """What engines keep beyond their stages; the real store is the worker's."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.last = 0

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        known = self.kept.get(params["key"], {"revision": 0, "body": None})
        if method == "state_read":
            return {"result": known}
        if params.get("revision", known["revision"]) != known["revision"]:
            return {"error": {"reason": "STATE_CONFLICT", "message": "somebody else wrote it meanwhile"}}
        self.last += 1
        self.kept[params["key"]] = {"revision": self.last, "body": params["body"]}
        return {"result": {"revision": self.last}}


class Attempt:
    """One attempt as the worker sees it. `cel` maps expressions to functions of the variables, `models` what an agent
    may name to models."""

    def __init__(
        self, connection: Connection, token: str, pid: int, cel: dict[str, Callable[[Any], Any]], stages: dict[Any, Checkpoints],
        states: States,
    ) -> None:
        self.connection, self.token, self.pid, self.cel, self.stages, self.states = connection, token, pid, cel, stages, states
        self.models: dict[str, dict[str, Any]] = {}
        #: Awaited before a call is answered, and with it all that follow.
        self.hold: Callable[[dict[str, Any]], Awaitable[None]] | None = None
        self.frames: list[dict[str, Any]] = []
        self._arrived: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._reading = asyncio.ensure_future(self._read())

    async def start(self, **task: Any) -> None:
        self.task = {"execution": "e1", "stage": "s1", "attempt": 1, "resume": 0} | task
        frame = {
            "t": "task", "execution": "e1", "stage": "s1", "attempt": 1, "resume": 0, "delivery": 1,
            "deadline_ms": 60000, "input": {}, "dependencies": {}, "repos": [], "documents": {},
            "project": str(PROJECT), "data": tempfile.gettempdir(), "model": None, "trace": {},
        }
        await self.connection.send(frame | task)

    async def next(self) -> dict[str, Any] | None:
        """The next frame that is not a call; calls are answered, whether anybody waits here or not."""
        frame = await asyncio.wait_for(self._arrived.get(), PATIENCE)
        if frame is None:
            self._arrived.put_nowait(None)
        else:
            self.frames.append(frame)
        return frame

    async def _read(self) -> None:
        try:
            while (frame := await self.connection.receive()) is not None:
                if frame["t"] != "call":
                    self._arrived.put_nowait(frame)
                    continue
                try:
                    if self.hold is not None:
                        await self.hold(frame)
                    await self._answer(frame)
                except ConnectionError:
                    pass  # what has arrived is still read
        finally:
            self._arrived.put_nowait(None)

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while (frame := await self.next()) is not None:
            if wanted(frame):
                return frame
        raise AssertionError(f"the connection ended after {[f['t'] for f in self.frames]}")

    async def last(self) -> dict[str, Any]:
        """The last frame; then the connection must end, with nothing after it."""
        frame = await self.until(lambda frame: frame["t"] in LAST)
        extra = await self.next()
        assert extra is None, f"a frame after the last one: {extra}"
        return frame

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["t"] == kind]

    async def _answer(self, call: dict[str, Any]) -> None:
        params = call["params"]
        if call["method"].startswith("checkpoints_"):
            store = self.stages.setdefault((self.task["execution"], self.task["stage"]), Checkpoints())
            turn = {"attempt": self.task["attempt"], "resume": self.task["resume"]}
            result = store.answer(call["method"], params, turn)
            await self.connection.send({"t": "reply", "id": call["id"], "result": result})
            return
        if call["method"].startswith("state_"):
            await self.connection.send({"t": "reply", "id": call["id"], **self.states.answer(call["method"], params)})
            return
        try:
            if call["method"] == "model":
                result = self.models[params["name"]]
            else:
                result = self.cel[params["expression"]](params["variables"])
        except KeyError as error:
            reply = {"error": {"reason": "EXPRESSION_INVALID", "message": f"not in the test's table: {error}"}}
        else:
            reply = {"result": result}
        await self.connection.send({"t": "reply", "id": call["id"], **reply})


class Host:
    """A running host and the socket that it was given."""

    def __init__(
        self, process: asyncio.subprocess.Process, server: Connection, hello: dict[str, Any],
        clean: Callable[[], Awaitable[None]],
    ) -> None:
        self.process, self.server, self.hello, self._clean = process, server, hello, clean
        self.attempts: list[Attempt] = []
        self.waiting: dict[str, asyncio.Future[tuple[Connection, int]]] = {}
        self.exited: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        #: Checkpoints by execution and stage. Put aside, they go on in another host.
        self.stages: dict[Any, Checkpoints] = {}
        #: What the engine keeps. That of another host makes both workers of one engine.
        self.states = States()
        self._last = 0
        self._exits = asyncio.ensure_future(self._read_exits())

    async def open(self, cel: dict[str, Callable[[Any], Any]] | None = None) -> Attempt:
        self._last += 1
        token = f"token-{self._last}"
        self.waiting[token] = asyncio.get_running_loop().create_future()
        await self.server.send({"t": "open", "token": token})
        connection, pid = await asyncio.wait_for(self.waiting[token], PATIENCE)
        self.attempts.append(Attempt(connection, token, pid, cel or {}, self.stages, self.states))
        return self.attempts[-1]

    async def run(
        self, cel: dict[str, Callable[[Any], Any]] | None = None, models: dict[str, dict[str, Any]] | None = None, **task: Any
    ) -> Attempt:
        """An attempt from its start to its last frame; of a stage of its own, unless told otherwise."""
        self.stages = self.stages if "resume" in task or "execution" in task else {}
        attempt = await self.open(cel)
        attempt.models = models or {}
        await attempt.start(**task)
        attempt.ended = await attempt.last()  # type: ignore[attr-defined]
        return attempt

    async def cancel(self, attempt: Attempt) -> float:
        """How many seconds it took until the attempt's process had ended, cancelled."""
        began = time.monotonic()
        await attempt.connection.send({"t": "cancel", "reason": "test"})
        ended = await attempt.last()
        assert ended["t"] == "cancelled", ended
        await self.exit_of(attempt)
        return time.monotonic() - began

    async def exit_of(self, attempt: Attempt) -> dict[str, Any]:
        while True:
            frame = await asyncio.wait_for(self.exited.get(), PATIENCE)
            if frame["pid"] == attempt.pid:
                return frame

    def is_as_new(self) -> bool:
        """Whether another test can have it: it is ready, and no test has ended it."""
        return self.hello["t"] == "server_hello" and self.process.returncode is None and not self.server.closed

    def forget(self) -> None:
        """Makes it as new: its attempts are over, and what they kept is gone."""
        for attempt in self.attempts:
            attempt.connection.close()
            if attempt.pid != self.hello["pid"]:
                kill(attempt.pid)
        self.attempts, self.stages, self.states = [], {}, States()

    async def end(self) -> None:
        """It must end by itself when the worker is gone, and have written nothing to standard output."""
        try:
            self.server.close()
            await asyncio.wait_for(self.process.wait(), 30)
            assert self.process.stdout is not None
            assert await self.process.stdout.read() == b"", "something reached standard output"
        finally:
            await self._clean()

    async def kill(self) -> None:
        """Ends it after a failure."""
        await self._clean()

    async def _read_exits(self) -> None:
        while (frame := await self.server.receive()) is not None:
            await self.exited.put(frame)


async def start_host(engine: str, isolation: str, stderr: Path | None, environment: dict[str, str]) -> Host:
    """Starts a host and waits until it is ready, or has said why it cannot be."""
    python = interpreter(engine)
    directory = tempfile.TemporaryDirectory()
    path = os.path.join(directory.name, "worker.sock")
    hellos: asyncio.Queue[tuple[Connection, dict[str, Any]]] = asyncio.Queue()
    running: list[Host] = []
    accepted: list[Connection] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.setblocking(False)
    listener.bind(path)
    listener.listen()

    async def greet(connection: Connection) -> None:
        hello = await connection.receive()
        if hello is not None and hello["t"] == "hello":
            running[0].waiting.pop(hello["token"]).set_result((connection, hello["pid"]))
        elif hello is not None:
            await hellos.put((connection, hello))

    async def accept() -> None:
        greeting = set()
        while True:
            accepted.append(Connection((await asyncio.get_running_loop().sock_accept(listener))[0]))
            greeting.add(asyncio.ensure_future(greet(accepted[-1])))

    accepting = asyncio.ensure_future(accept())
    log = open(stderr, "wb") if stderr else None
    process = await asyncio.create_subprocess_exec(
        python, "-m", "mahavishnu_host", "--engine", engine, "--socket", path, "--isolation", isolation,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), **environment}, stdout=asyncio.subprocess.PIPE, stderr=log,
    )

    async def clean() -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        for connection in accepted:
            connection.close()
        accepting.cancel()
        await asyncio.sleep(0)  # lets go of the listener
        listener.close()
        if log:
            log.close()
        directory.cleanup()

    try:
        connection, hello = await asyncio.wait_for(hellos.get(), PATIENCE)
    except BaseException:
        await clean()
        raise
    running.append(Host(process, connection, hello, clean))
    return running[0]


async def start_model() -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """The real local model, and the `model` member of a task."""
    process = await asyncio.create_subprocess_exec(
        interpreter("model"), str(MODEL_SERVER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
    return process, {"base_url": ready["base_url"], "name": ready["model"], "api_key": "none", "provider": "local"}


def resumed(paused: dict[str, Any], approved: bool, **decision: Any) -> dict[str, Any]:
    """The members of the task that goes on after a pause."""
    answer = {"approval_key": paused["approvals"][0]["key"], "approved": approved, "decided_by": "ann"}
    members = {"resume": 1, "decision": answer | {"reason": "", "values": {}} | decision}
    return members | ({"checkpoint": paused["checkpoint"]} if "checkpoint" in paused else {})


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends while its file is read
        return False


def kill(leader: int) -> None:
    """Kills a process group, if its leader still runs."""
    if is_alive(leader):
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


async def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Until `condition` holds, looked at again and again."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.01)


async def within(seconds: float, once: Callable[[], Awaitable[float]]) -> None:
    """`once` tells how long it took. A busy machine may need more; then it is tried again."""
    took: list[float] = []
    while not took or took[-1] >= seconds:
        assert len(took) < 5, took
        took.append(await once())


def decoded(frame: dict[str, Any]) -> bytes:
    return base64.b64decode(frame["otlp"])


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")
