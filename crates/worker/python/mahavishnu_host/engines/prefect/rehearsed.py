"""A Prefect server for a rehearsal: it answers the requests of one flow without tasks, and keeps nothing."""

from __future__ import annotations

import json
import uuid

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending


class Server:
    """Answers as Prefect's own does, one flow run at a time."""

    def __init__(self) -> None:
        self._flow_run = FlowRun(flow_id=uuid.uuid4(), name="rehearsal", state=Pending()).model_dump(mode="json")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.path.rstrip("/").rpartition("/")[2]
        if asked == "flows":
            answer = {"id": self._flow_run["flow_id"], "name": "rehearsal"}
        elif asked == "storage":
            answer = {"default_result_storage_block_id": None}
        elif asked == "set_state":
            state = json.loads(request.content)["state"]
            answer = {"state": state, "status": "ACCEPT", "details": {"type": "accept_details"}}
        else:
            answer = self._flow_run
        return httpx.Response(200, json=answer)
