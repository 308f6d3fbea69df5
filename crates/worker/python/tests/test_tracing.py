"""Spans: they decode, form one tree under the worker's span, and hold no prompt."""

from __future__ import annotations

import json
import subprocess
import unittest

from .driver import interpreter
from .pool import Case, host, model_server, tearDownModule  # noqa: F401

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = {"trace": {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": ""}}
_DECODE = """
import base64, json, sys
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
for line in sys.stdin:
    request = ExportTraceServiceRequest.FromString(base64.b64decode(line))
    for resource in request.resource_spans:
        service = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                print(json.dumps({
                    "service": service, "scope": scope.scope.name, "name": span.name, "kind": span.kind,
                    "trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                    "status": span.status.code, "whole": str(span),
                    "attributes": {a.key: MessageToDict(a.value) for a in span.attributes},
                }))
"""


def spans_of(attempt):
    """The spans of an attempt, decoded with the real protocol classes."""
    lines = "\n".join(frame["otlp"] for frame in attempt.of("spans"))
    python = interpreter("langgraph")
    done = subprocess.run([python, "-c", _DECODE], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Tracing(Case):
    def assert_one_tree(self, spans, engine):
        (root,) = [span for span in spans if span["name"] == f"run {engine}"]
        self.assertEqual((root["parent"], root["kind"]), (PARENT, 1))  # 1 is INTERNAL
        known = {span["id"] for span in spans} | {PARENT}
        self.assertEqual(len({span["id"] for span in spans}), len(spans))
        for span in spans:
            self.assertEqual(span["trace"], TRACE)
            self.assertIn(span["parent"], known)
            self.assertEqual(span["service"], [f"mahavishnu-host-{engine}"])
        return root

    async def test_langgraph(self):
        secret = "the launch code is heron"
        task = {"workflow": {"nodes": ["review", "approve"]}, "input": {"note": secret}}
        async with model_server() as model, host("langgraph") as running:
            attempts = [await running.run(task=task, model=model, **TRACED) for _ in range(2)]
            untraced = await running.run(task=task, model=model)
        self.assertEqual(spans_of(untraced), [])
        seen = set()
        for attempt in attempts:
            self.assertEqual(attempt.ended["t"], "paused")
            spans = spans_of(attempt)
            root = self.assert_one_tree(spans, "langgraph")
            self.assertEqual(root["attributes"]["mahavishnu.outcome"], {"stringValue": "paused"})
            self.assertEqual(root["attributes"]["mahavishnu.execution.id"], {"stringValue": "e1"})
            self.assertEqual(root["attributes"]["mahavishnu.stage.attempt"], {"intValue": "1"})
            names = {span["name"] for span in spans}
            self.assertLessEqual({"LangGraph", "review", "approve", "ChatOpenAI"}, names)
            for span in spans:
                self.assertNotIn("heron", span["whole"])
                self.assertNotIn(span["id"], seen, "forked children have span ids of their own")
                seen.add(span["id"])

    async def test_agno(self):
        async with model_server() as model, host("agno") as running:
            task = {"agents": ["tester"], "task": "Say hello to the heron."}
            spans = spans_of(await running.run(task=task, model=model, **TRACED))
            self.assert_one_tree(spans, "agno")
            self.assertGreaterEqual(len(spans), 3, [span["name"] for span in spans])
            for span in spans:
                self.assertNotIn("heron", span["whole"])

    async def test_a_failure_is_marked_and_a_cancelled_attempt_too(self):
        node = {"name": "n", "kind": "python", "ref": "misbehave.py:fail"}
        async with host("langgraph") as running:
            attempt = await running.run(task={"workflow": {"nodes": [node]}}, **TRACED)
            root = self.assert_one_tree(spans_of(attempt), "langgraph")
            self.assertEqual((root["status"], root["attributes"]["mahavishnu.outcome"]), (2, {"stringValue": "failed"}))

    async def test_attempts_of_a_shared_host_do_not_mix(self):
        node = {"name": "n", "kind": "set", "values": {"x": "1"}}
        task = {"workflow": {"nodes": [node]}}
        async with host("langgraph", "shared") as running:
            first, second = await running.open({"1": lambda v: 1}), await running.open({"1": lambda v: 1})
            await first.start(task=task, execution="one", **TRACED)
            await second.start(task=task, execution="two", **TRACED)
            for attempt, execution in ((first, "one"), (second, "two")):
                self.assertEqual((await attempt.last())["t"], "done")
                spans = spans_of(attempt)
                root = self.assert_one_tree(spans, "langgraph")
                self.assertEqual(root["attributes"]["mahavishnu.execution.id"], {"stringValue": execution})
                self.assertEqual(len([span for span in spans if span["name"] == "n"]), 1)
