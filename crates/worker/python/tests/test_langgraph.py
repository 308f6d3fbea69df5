"""The LangGraph engine: order, routes, approvals across processes, references, the model."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import unittest
from pathlib import Path

from .driver import PROJECT, TESTS, interpreter, resumed, wait_for
from .pool import Case, host, model_server, tearDownModule  # noqa: F401

TRUE = {"true": lambda v: True, "false": lambda v: False, "'x'": lambda v: "x"}


def set_node(name: str, key: str = "seen", cel: str = "'x'"):
    return {"name": name, "kind": "set", "values": {key: cel}}


def workflow(nodes, conditional=None, given=None, **more):
    spec = {"nodes": nodes, "conditional": conditional or {}, **more}
    return {"task": {"workflow": spec, "input": given or {}}}


class Declarative(Case):
    async def test_nodes_run_in_the_listed_order(self):
        async with host("langgraph") as running:
            nodes = [set_node("extract"), set_node("transform", "t"), set_node("load", "l")]
            attempt = await running.run(TRUE, **workflow(nodes, given={"table": "orders"}))
            output = attempt.ended["output"]
            self.assertEqual(output["path"], ["extract", "transform", "load"])
            self.assertEqual(output["state"], {"table": "orders", "results": {}, "seen": "x", "t": "x", "l": "x"})
            self.assertEqual((output["model"], output["approved"]), (None, None))
            updates = attempt.of("progress")
            self.assertEqual([(f["kind"], f["name"]) for f in updates], [("node_update", n["name"]) for n in nodes])
            self.assertEqual(updates[1]["data"]["update"], {"t": "x"})
            self.assertGreaterEqual(updates[1]["data"]["duration_ms"], 0)

    async def test_a_python_without_a_model_client_runs_graphs(self):
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "langchain_openai.py").write_text("raise ModuleNotFoundError('No module named it')")
            async with host("langgraph", PYTHONPATH=f"{directory}:{TESTS.parent}") as running:
                attempt = await running.run(TRUE, **workflow([set_node("a")]))
                self.assertEqual(attempt.ended["output"]["path"], ["a"])
                model = {"base_url": "http://127.0.0.1:9/v1", "name": "m", "api_key": None}
                attempt = await running.run(TRUE, **workflow(["say"]), model=model)
                self.assertEqual(attempt.ended["reason"], "ENGINE_ERROR")
                self.assertIn("No module named it", attempt.ended["message"])

    async def test_routes_see_the_input_and_earlier_stages(self):
        jwt = "state.use_jwt"
        cel = {
            jwt: lambda v: v["state"].get("use_jwt"),
            "state.stages.docs.output.pages > 3": lambda v: v["state"]["stages"]["docs"]["output"]["pages"] > 3,
            **TRUE,
        }
        nodes = [set_node("route"), set_node("jwt"), set_node("session"), set_node("long")]
        rules = [
            {"when": "state.stages.docs.output.pages > 3", "to": "long"},
            {"when": jwt, "to": "jwt"},
            {"to": "session"},
        ]
        conditional = {"route": rules, "jwt": [{"to": "end"}], "session": [{"to": "end"}]}
        async with host("langgraph") as running:
            for given, pages, then in (({"use_jwt": True}, 1, "jwt"), ({}, 1, "session"), ({}, 9, "long")):
                task = workflow(nodes, conditional, given) | {"dependencies": {"docs": {"pages": pages}}}
                output = (await running.run(cel, **task)).ended["output"]
                self.assertEqual(output["path"], ["route", then])
                self.assertNotIn("stages", output["state"])

    async def test_no_route_that_holds_ends_the_graph_and_null_does_not_hold(self):
        async with host("langgraph") as running:
            conditional = {"a": [{"when": "false", "to": "b"}, {"when": "state.missing", "to": "b"}]}
            cel = TRUE | {"state.missing": lambda v: None, "1": lambda v: 1}
            output = (await running.run(cel, **workflow([set_node("a"), set_node("b")], conditional))).ended["output"]
            self.assertEqual(output["path"], ["a"])
            conditional = {"a": [{"when": "1", "to": "b"}]}
            output = (await running.run(cel, **workflow([set_node("a"), set_node("b")], conditional))).ended["output"]
            self.assertEqual(output["path"], ["a", "b"])
            ended = (await running.run({}, **workflow([set_node("a", cel="nonsense")]))).ended
            self.assertEqual(ended["reason"], "EXPRESSION_INVALID")

    async def test_an_expression_may_yield_the_node(self):
        rule = 'state.use_jwt ? "b" : "end"'
        async with host("langgraph") as running:
            for chosen, path in (("b", ["a", "b"]), ("end", ["a"]), (None, ["a"])):
                cel = TRUE | {rule: lambda v, chosen=chosen: chosen}
                attempt = await running.run(cel, **workflow([set_node("a"), set_node("b")], {"a": rule}))
                self.assertEqual(attempt.ended["output"]["path"], path)
            cel = TRUE | {rule: lambda v: "bb"}
            ended = (await running.run(cel, **workflow([set_node("a"), set_node("b")], {"a": rule}))).ended
            self.assertEqual(ended["reason"], "ROUTE_UNKNOWN")
            self.assertIn("did you mean b?", ended["message"])

    async def test_edges_lead_elsewhere_and_in_parallel(self):
        nodes = [set_node("a"), set_node("left", "l"), set_node("right", "r"), set_node("last", "z")]
        task = workflow(nodes, edges={"a": ["left", "right"], "left": "last", "right": "last"})
        async with host("langgraph") as running:
            output = (await running.run(TRUE, **task)).ended["output"]
            self.assertEqual([output["path"][0], sorted(output["path"][1:3]), output["path"][3:]], ["a", ["left", "right"], ["last"]])
            self.assertEqual({output["state"][key] for key in ("l", "r", "z")}, {"x"})

    async def test_a_loop_is_bounded(self):
        async with host("langgraph") as running:
            ended = (await running.run(TRUE, **workflow([set_node("a")], {"a": [{"to": "a"}]}, max_steps=5))).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("LOOP_LIMIT", False))

    async def test_refusals_name_the_field_and_the_nearest_name(self):
        cases = [
            ({"workflow": {"nodes": []}}, "workflow.nodes"),
            ({"workflow": {"nodes": ["a", "a"]}}, "workflow.nodes[1]"),
            ({"workflow": {"nodes": ["end"]}}, "workflow.nodes[0]"),
            ({"workflow": {"nodes": [{"name": "a", "kind": "agnt"}]}}, "workflow.nodes[0].kind"),
            ({"workflow": {"nodes": [{"name": "a", "kind": "set"}]}}, "workflow.nodes[0].values"),
            ({"workflow": {"nodes": ["a"], "condtional": {}}}, "workflow.condtional"),
            ({"workflow": {"nodes": ["a"], "conditional": {"b": [{"to": "a"}]}}}, "workflow.conditional.b"),
            ({"workflow": {"nodes": ["a"], "conditional": {"a": [{"when": "true"}]}}}, "workflow.conditional.a[0].to"),
            ({"workflw": {}}, "workflw"),
            ({}, "workflow"),
            ({"graph": "../outside.py:graph"}, "graph"),
            ({"graph": "graphs.py:compild"}, "graph"),
            ({"graph": "graphs.py:not_a_graph"}, "graph"),
            ({"graph": "json:dumps"}, "graph"),
        ]
        async with host("langgraph") as running:
            for task, field in cases:
                ended = (await running.run(task=task)).ended
                self.assertEqual((ended["t"], ended.get("field")), ("error", field), task)
            self.assertIn("did you mean conditional?", (await running.run(task=cases[5][0])).ended["message"])


class Approvals(Case):
    async def test_pause_and_resume_in_another_host_without_running_nodes_again(self):
        rule = "state.approved"
        cel = TRUE | {rule: lambda v: v["state"].get("approved")}
        with tempfile.TemporaryDirectory() as directory:
            for approved, path in ((True, ["review", "approve", "implement"]), (False, ["review", "approve"])):
                file = os.path.join(directory, f"count-{approved}")
                review = {"name": "review", "kind": "python", "ref": "misbehave.py:count"}
                task = workflow(
                    [review, "approve", set_node("implement", "implemented")],
                    {"approve": [{"when": rule, "to": "implement"}, {"to": "end"}]},
                    {"file": file},
                )
                async with host("langgraph") as running, host("langgraph") as another:
                    first = await running.run(cel, **task)
                    paused = first.ended
                    self.assertEqual(paused["t"], "paused")
                    (approval,) = paused["approvals"]
                    self.assertEqual((approval["title"], approval["payload"]["node"]), ("approve", "approve"))
                    self.assertEqual((await running.exit_of(first))["status"], 0)
                    another.stages = running.stages
                    decision = resumed(paused, approved, reason="looked at it")
                    output = (await another.run(cel, **task, **decision)).ended["output"]
                self.assertEqual((output["path"], output["approved"]), (path, approved))
                self.assertEqual(output["decision"]["reason"], "looked at it")
                self.assertEqual("implemented" in output["state"], approved)
                self.assertEqual(Path(file).read_text(), "x", "review ran once")

    async def test_a_checkpoint_that_is_gone_or_broken_is_a_failure(self):
        async with host("langgraph") as running:
            task = workflow(["approve"])
            paused = (await running.run(TRUE, **task)).ended
            (store,) = running.stages.values()
            for record in store.records.values():
                record["body"] = "AAAA"
            ended = (await running.run(**task, **resumed(paused, True))).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("CHECKPOINT_UNREADABLE", False))
            store.records.clear()
            ended = (await running.run(**task, **resumed(paused, True))).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("CHECKPOINT_EXPIRED", False))

    async def test_two_questions_of_one_node_are_answered_one_by_one_also_by_a_process_that_is_lost(self):
        task = {"task": {"graph": "graphs.py:two_questions"}}
        async with host("langgraph") as running:
            first = (await running.run(**task)).ended
            second = (await running.run(**task, **resumed(first, True, values={"resume": "a"}))).ended
            self.assertEqual(second["approvals"][0]["payload"], {"value": "second?"})
            # The same decision comes again: its first answer was stored, and it does not answer the second question.
            again = (await running.run(**task, **resumed(first, True, values={"resume": "a"}), delivery=2)).ended
            self.assertEqual(again["approvals"], second["approvals"])
            last = resumed(second, True, values={"resume": "b"}) | {"resume": 2}
            self.assertEqual((await running.run(**task, **last)).ended["output"]["state"]["answers"], ["a", "b"])


class Recovery(Case):
    async def test_a_killed_process_is_replaced_at_the_node_where_it_stood(self):
        """Three steps, the second of two nodes side by side: one ends, the other holds its process until it is killed."""
        with tempfile.TemporaryDirectory() as directory:
            given = {"file": os.path.join(directory, "count"), "held": os.path.join(directory, "held")}
            nodes = [
                {"name": "first", "kind": "python", "ref": "misbehave.py:count"},
                {"name": "beside", "kind": "python", "ref": "misbehave.py:count"},
                {"name": "hold", "kind": "python", "ref": "misbehave.py:hold_once"},
                {"name": "last", "kind": "python", "ref": "misbehave.py:count"},
            ]
            task = workflow(nodes, given=given, edges={"first": ["beside", "hold"], "beside": "last", "hold": "last"})
            async with host("langgraph") as running:
                attempt = await running.open(TRUE)
                await attempt.start(**task)
                await attempt.until(lambda frame: frame.get("name") == "beside")
                await wait_for(lambda: os.path.exists(given["held"]), 30, "the second step is reached")
                os.kill(attempt.pid, 9)
                self.assertEqual((await running.exit_of(attempt))["signal"], 9)
                attempt = await running.run(TRUE, **task, resume=0, delivery=2)
                self.assertEqual(Path(given["file"]).read_text(), "xxx", "each finished node ran once")
                output = attempt.ended["output"]
                self.assertEqual(output["path"], ["first", "beside", "hold", "last"])
                self.assertEqual([f["name"] for f in attempt.of("progress")], ["resumed", "hold", "last"])
                self.assertEqual(attempt.of("progress")[0]["data"]["next"], ["hold"])

    async def test_a_node_starts_when_what_others_did_is_stored_and_the_end_waits_for_all(self):
        nodes = [{"name": name, "kind": "python", "ref": "misbehave.py:count"} for name in ("first", "second")]
        # The last checkpoint before the second node, and the very last one.
        for step, counted, ends in ((1, 1, "first"), (2, 2, "second")):
            with tempfile.TemporaryDirectory() as directory:
                file = Path(directory, "counted")
                reached, go_on = asyncio.Event(), asyncio.Event()

                async def hold(call):
                    if call["method"] == "checkpoints_save" and call["params"]["view"].get("step") == step:
                        reached.set()
                        await go_on.wait()

                async with host("langgraph") as running:
                    attempt = await running.open()
                    attempt.hold = hold
                    await attempt.start(task={"workflow": {"nodes": nodes}, "input": {"file": str(file)}})
                    await asyncio.wait_for(reached.wait(), 60)
                    with self.assertRaises(asyncio.TimeoutError):
                        await asyncio.wait_for(attempt.until(lambda frame: frame["t"] == "done"), 0.3)
                    self.assertEqual(len(file.read_text()), counted, ends)
                    go_on.set()
                    self.assertEqual((await attempt.last())["t"], "done")

    async def test_a_failed_attempt_is_tried_again_at_the_node_that_failed(self):
        with tempfile.TemporaryDirectory() as directory:
            given = {"file": os.path.join(directory, "count"), "held": os.path.join(directory, "held")}
            nodes = [
                {"name": "count", "kind": "python", "ref": "misbehave.py:count"},
                {"name": "fail", "kind": "python", "ref": "misbehave.py:fail_once"},
            ]
            async with host("langgraph") as running:
                self.assertEqual((await running.run(TRUE, **workflow(nodes, given=given))).ended["t"], "error")
                again = await running.run(TRUE, **workflow(nodes, given=given), attempt=2, resume=0)
                self.assertEqual(again.ended["output"]["path"], ["count", "fail"])
                self.assertEqual(Path(given["file"]).read_text(), "x")

    async def test_a_finished_graph_whose_result_was_lost_gives_it_again(self):
        with tempfile.TemporaryDirectory() as directory:
            file = os.path.join(directory, "count")
            task = workflow([{"name": "count", "kind": "python", "ref": "misbehave.py:count"}], given={"file": file})
            async with host("langgraph") as running:
                first = (await running.run(TRUE, **task)).ended
                again = (await running.run(TRUE, **task, resume=0, delivery=2)).ended
                self.assertEqual(again, first)
                self.assertEqual(Path(file).read_text(), "x")

    async def test_a_graph_inside_goes_on_where_it_stood_and_plain_nodes_use_the_saver(self):
        with tempfile.TemporaryDirectory() as directory:
            given = {"held": os.path.join(directory, "held")}
            task = {"task": {"graph": "graphs.py:outer", "input": given}}
            async with host("langgraph") as running:
                attempt = await running.open()
                await attempt.start(**task)
                await wait_for(lambda: os.path.exists(given["held"]), 30, "the graph inside is reached")
                os.kill(attempt.pid, 9)
                self.assertEqual((await running.exit_of(attempt))["signal"], 9)
                output = (await running.run(**task, resume=0, delivery=2)).ended["output"]
                self.assertEqual(output["state"]["log"], ["before", "before", "inner one", "inner two", "seen 4"])


class References(Case):
    async def test_the_users_own_graph_pauses_and_goes_on(self):
        async with host("langgraph") as running:
            for reference in ("graphs.py:builder", "graphs.py:compiled", "graphs:make"):
                task = {"task": {"graph": reference, "input": {"topic": "trees"}}, "dependencies": {"a": {"b": 1}}}
                attempt = await running.run(**task)
                paused = attempt.ended
                self.assertEqual(paused["approvals"][0]["payload"], {"value": "which one?"})
                custom = [f["data"] for f in attempt.of("progress") if f["kind"] == "message"]
                self.assertEqual(custom, [{"looking_at": "trees"}])
                decision = resumed(paused, True, values={"resume": "oak"})
                output = (await running.run(**task, **decision)).ended["output"]
                self.assertEqual(output["state"]["log"], ["first", "ask", "last:oak"])
                self.assertEqual(output["state"]["stages"], {"a": {"output": {"b": 1}}})
                self.assertEqual(output["state"]["message"]["content"], "kept across processes")
                self.assertEqual(output["path"], ["first", "ask", "last"])


    async def test_a_graph_inside_a_declared_one(self):
        nodes = [set_node("before"), {"name": "inside", "kind": "graph", "ref": "graphs.py:compiled"}, set_node("after", "z")]
        async with host("langgraph") as running:
            task = workflow(nodes, given={"topic": "trees", "log": ["outside"]})
            paused = (await running.run(TRUE, **task)).ended
            self.assertEqual(paused["approvals"][0]["payload"], {"value": "which one?"})
            attempt = await running.run(TRUE, **task, **resumed(paused, True))
            output = attempt.ended["output"]
            self.assertEqual(output["path"], ["before", "inside", "after"])
            self.assertEqual(output["state"]["log"][:3], ["outside", "first", "ask"])
            self.assertEqual((output["state"]["answer"]["approved"], output["state"]["z"]), (True, "x"))
            inner = [f["name"] for f in attempt.of("progress") if f["data"].get("subgraph") == ["inside"]]
            self.assertEqual(inner, ["ask", "last"])

    async def test_as_the_plain_library_runs_the_same_object(self):
        """Output and order of what nodes did, against `invoke` and `stream` in a process of the engine's own."""
        script = (
            "import json, graphs\n"
            "given = {'numbers': [3, 1, 2]}\n"
            "order = [name for step in graphs.plain.stream(given, stream_mode='updates') for name in step]\n"
            "print(json.dumps({'state': graphs.plain.invoke(given), 'order': order}))"
        )
        plain = await asyncio.create_subprocess_exec(
            interpreter("langgraph"), "-c", script, cwd=PROJECT, stdout=asyncio.subprocess.PIPE
        )
        expected = json.loads((await plain.communicate())[0])
        async with host("langgraph") as running:
            attempt = await running.run(task={"graph": "graphs.py:plain", "input": {"numbers": [3, 1, 2]}})
            output = attempt.ended["output"]
            self.assertEqual(output["state"], expected["state"])
            # Nodes of one step run side by side; what ends first is chance.
            self.assertEqual(_steps(output["path"]), _steps(expected["order"]))
            self.assertEqual([f["name"] for f in attempt.of("progress")], output["path"])


def _steps(order):
    return [order[0], sorted(order[1:3]), *order[3:]]


class WithModel(Case):
    async def test_an_agent_node_streams_and_its_answer_is_in_the_state(self):
        async with model_server() as model, host("langgraph") as running:
            task = workflow(["review", "verify"], given={"requirements": "The login page must use TLS."})
            attempt = await running.run(**task, model=model)
            output = attempt.ended["output"]
            self.assertEqual(output["path"], ["review", "verify"])
            self.assertEqual(output["model"], model["name"])
            self.assertGreater(output["tokens"]["output"], 0)
            for node in ("review", "verify"):
                streamed = "".join(f["text"] for f in attempt.of("delta") if f["source"] == node)
                self.assertEqual(streamed.strip(), output["state"]["results"][node])
                self.assertGreater(len(streamed), 10)

    async def test_a_large_input_fits_the_model(self):
        async with model_server() as model, host("langgraph") as running:
            task = workflow(["review"], given={f"part{i}": "word " * 20_000 for i in range(3)})
            self.assertEqual((await running.run(**task, model=model)).ended["t"], "done")

    async def test_without_a_model(self):
        async with host("langgraph") as running:
            ended = (await running.run(**workflow(["review"]))).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("MODEL_UNAVAILABLE", True))
            nowhere = {"base_url": "http://127.0.0.1:9/v1", "name": "m", "api_key": "none", "provider": "local"}
            ended = (await running.run(**workflow(["review"]), model=nowhere)).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("MODEL_UNAVAILABLE", True))
            self.assertIn("Traceback", ended["traceback"])
