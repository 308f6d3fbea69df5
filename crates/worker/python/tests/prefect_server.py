"""A Prefect server for all tests: it is started once, for it takes long."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request

from .driver import TESTS, interpreter


class Server:
    """It ends with this process."""

    directory = ""
    url = ""

    @classmethod
    def start(cls) -> None:
        if cls.url:
            return
        cls.directory = tempfile.mkdtemp()
        cls.process, ready = spawn("--data", cls.directory)
        cls.url = ready["url"]
        atexit.register(cls.stop)

    @classmethod
    def stop(cls) -> None:
        cls.process.terminate()
        cls.process.wait(20)
        assert cls.process.stdout is not None
        cls.process.stdout.close()
        shutil.rmtree(cls.directory)

    @classmethod
    def environment(cls) -> dict[str, str]:
        """Of a host that uses it. What Prefect keeps there is for all tests, so each has executions of its own."""
        cls.start()
        return {"PREFECT_API_URL": cls.url, "PREFECT_HOME": f"{cls.directory}/home"}

    @classmethod
    def post(cls, path: str, body: dict) -> list[dict]:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{cls.url}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    @classmethod
    def delete(cls, path: str) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{cls.url}{path}", method="DELETE"), timeout=20).close()


def spawn(*options: str) -> tuple[subprocess.Popen, dict]:
    process = subprocess.Popen(
        [interpreter("prefect"), "-m", "mahavishnu_host.prefect_server", *options],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the server ended before it was ready"
    return process, json.loads(line)
