"""What can be told without a host: frames, references, failures, summaries."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import unittest
from datetime import datetime, timezone
from pathlib import Path

from mahavishnu_host import failures, framing, references, rehearsal, summary
from mahavishnu_host.api import Model, StageError, Task
from mahavishnu_host.engines.prefect import s3


class Framing(unittest.TestCase):
    def test_frames_survive_any_cut(self):
        frames = [{"t": "a", "n": n, "text": "ü" * n} for n in range(20)]
        data = b"".join(framing.encode(frame) for frame in frames)
        for size in (1, 3, 7, 64, len(data)):
            decoder = framing.Decoder()
            got = [frame for i in range(0, len(data), size) for frame in decoder.feed(data[i : i + size])]
            self.assertEqual(got, frames)

    def test_what_json_lacks(self):
        class Odd:
            def __str__(self):
                return "odd"

        class Name(str):
            pass

        value = {"t": "x", "v": [float("inf"), {2}, b"\xff", Odd(), Name("n"), "\ud800", Path("p")], None: 1, True: 2}
        body = framing.encode(value)[4:].decode()
        self.assertEqual(json.loads(body)["v"], [None, [2], "\ufffd", "odd", "n", "?", "p"])
        self.assertEqual(set(json.loads(body)), {"t", "v", "null", "true"})

    def test_limits(self):
        deep: list = []
        for _ in range(200):
            deep = [deep]
        with self.assertRaises(framing.FrameError):
            framing.encode({"t": "x", "v": deep})
        with self.assertRaises(framing.FrameError):
            framing.encode({"t": "x", "v": "y" * (framing.MAX_FRAME + 1)})
        with self.assertRaises(framing.FrameError):
            list(framing.Decoder().feed(b"\xff\xff\xff\xff"))
        for body in (b"[]", b"{}", b'{"t":1}', b"{", b"\xff"):
            with self.assertRaises(framing.FrameError):
                list(framing.Decoder().feed(len(body).to_bytes(4, "big") + body))


class References(unittest.TestCase):
    def setUp(self):
        outer = tempfile.TemporaryDirectory()
        self.addCleanup(outer.cleanup)
        self.addCleanup(setattr, sys, "path", list(sys.path))
        self.project = Path(outer.name, "project")
        (self.project / "pkg").mkdir(parents=True)
        (self.project / "own.py").write_text("import helper\nclass A:\n    b = helper.VALUE\n")
        (self.project / "helper.py").write_text("VALUE = 5\n")
        (self.project / "pkg" / "mod.py").write_text("value = 7\n")
        (self.project / "bad.py").write_text("import not_there_at_all\n")
        Path(outer.name, "outside.py").write_text("value = 1\n")
        os.symlink(Path(outer.name, "outside.py"), self.project / "link.py")

    def resolve(self, reference):
        return references.resolve(reference, str(self.project), "field")

    def test_both_forms(self):
        self.assertEqual(self.resolve("own.py:A.b"), 5)
        self.assertEqual(self.resolve("pkg/mod.py:value"), 7)
        self.assertEqual(self.resolve("pkg.mod:value"), 7)

    def test_refusals(self):
        cases = {
            "../outside.py:value": "REFERENCE_OUTSIDE",
            f"{self.project.parent}/outside.py:value": "REFERENCE_OUTSIDE",
            "link.py:value": "REFERENCE_OUTSIDE",
            "json:dumps": "REFERENCE_NOT_FOUND",
            "none.py:value": "REFERENCE_NOT_FOUND",
            "own.py:B": "REFERENCE_NOT_FOUND",
            "own.py": "REFERENCE_INVALID",
            "a/b:c": "REFERENCE_INVALID",
            "..:c": "REFERENCE_INVALID",
            "own\0.py:A": "REFERENCE_INVALID",
            "bad.py:x": "REFERENCE_FAILED",
            7: "REFERENCE_INVALID",
        }
        for reference, reason in cases.items():
            with self.assertRaises(StageError) as caught:
                self.resolve(reference)
            self.assertEqual((caught.exception.reason, caught.exception.field), (reason, "field"), reference)

    def test_a_module_is_imported_once_until_its_path_leads_elsewhere(self):
        file = self.project / "turn.py"
        file.write_text("value = object()\nnumber = 1\n")
        self.assertIs(self.resolve("turn.py:value"), self.resolve("turn.py:value"))
        self.assertTrue(references.is_loaded("turn.py:value", str(self.project)))
        file.write_text("number = 22\n")
        self.assertFalse(references.is_loaded("turn.py:value", str(self.project)))
        self.assertEqual(self.resolve("turn.py:number"), 22)
        file.unlink()
        file.symlink_to(self.project.parent / "outside.py")
        with self.assertRaises(StageError) as refused:
            self.resolve("turn.py:value")
        self.assertEqual(refused.exception.reason, "REFERENCE_OUTSIDE")

    def test_a_module_of_the_interpreter_is_not_taken_for_the_projects(self):
        (self.project / "json.py").write_text("value = 1\n")
        with self.assertRaises(StageError) as caught:
            self.resolve("json:dumps")
        self.assertEqual(caught.exception.reason, "REFERENCE_OUTSIDE")


class Rehearsals(unittest.IsolatedAsyncioTestCase):
    async def test_a_rehearsal_is_a_whole_stage_and_leaves_nothing_to_be_found(self):
        """Also not a module of the same name as the user's own."""
        with tempfile.TemporaryDirectory() as rehearsed, tempfile.TemporaryDirectory() as project:
            for directory, value in ((rehearsed, "theirs"), (project, "own")):
                Path(directory, "smallest.py").write_text(f"value = {value!r}\n")
                os.utime(Path(directory, "smallest.py"), ns=(1, 1))
            seen = []

            async def run(task, link):
                seen.append(references.resolve(task.task["graph"], task.project, "graph"))
                self.assertEqual(await link.call("checkpoints_open", {}), {"entries": []})
                saved = await link.call("checkpoints_save", {"body": "b"})
                self.assertEqual(await link.call("checkpoints_read", saved), {"body": "b"})
                await link.progress("message", "unheard")
                raise StageError("ENDED", "as it may")

            path = list(sys.path)
            with self.assertRaises(StageError):
                await rehearsal.perform(run, {"graph": "smallest.py:value"}, Path(rehearsed))
            self.assertEqual((seen, sys.path), (["theirs"], path))
            self.assertFalse(references.is_loaded("smallest.py:value", rehearsed))
            self.assertEqual(references.resolve("smallest.py:value", project, "graph"), "own")
            references.forget(project)


class Failures(unittest.TestCase):
    def test_retryable_follows_the_cause(self):
        try:
            try:
                raise ConnectionRefusedError("no one there")
            except ConnectionRefusedError as cause:
                raise ValueError("wrapped") from cause
        except ValueError as error:
            frame = failures.error_frame(error)
        self.assertEqual((frame["reason"], frame["retryable"]), ("ENGINE_ERROR", True))
        self.assertIn("no one there", frame["traceback"])
        self.assertFalse(failures.error_frame(ValueError("x"))["retryable"])

    def test_what_is_said_is_bounded(self):
        silent, plain = ValueError(), ValueError()
        silent.__cause__, plain.__context__, plain.__suppress_context__ = KeyError("a"), KeyError("b"), True
        told = [failures.error_frame(error)["message"] for error in (silent, plain)]
        self.assertEqual(told, ["ValueError: KeyError: 'a'", "ValueError"])
        frame = failures.error_frame(ValueError("x" * 1_000_000))
        self.assertLess(len(frame["message"]), 5_000)
        self.assertLess(len(frame["traceback"]), 20_000)

    def test_an_exception_that_cannot_print_itself(self):
        class Broken(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        self.assertEqual(failures.error_frame(Broken())["reason"], "ENGINE_ERROR")


class Summaries(unittest.TestCase):
    def test_small(self):
        value = {"a": "x" * 10_000, "b": list(range(1000)), "c": [[[[[[1]]]]]]}
        self.assertLess(len(json.dumps(summary.summarise(value))), 1_000)

    def test_context_is_cut_for_the_local_model(self):
        parts = {"one": "x" * 100_000, "two": {"k": "y" * 100_000}, "none": None}
        local = summary.render_context(parts, Model("u", "m", provider="local"))
        self.assertLess(len(local), summary.LOCAL_CONTEXT + 200)
        self.assertIn("more characters", local)
        self.assertNotIn("none", local)


    def test_context_is_plain_text(self):
        given = {"requirements": ["one", {"text": "two", "page": 2}], "use_jwt": True, "none": None, "empty": {}}
        text = summary.render_context({"Input": given, "Note": "as it\n\nis"}, None)
        self.assertEqual(
            text,
            "Input:\nrequirements:\n  - one\n  - text: two\n    page: 2\nuse jwt: yes\n\nNote:\nas it\nis",
        )


class Tasks(unittest.TestCase):
    def test_unknown_members_are_ignored(self):
        frame = {"t": "task", "execution": "e", "stage": "s", "attempt": 2, "task": {}, "new": 1, "checkpoint": "QUI=",
                 "model": {"base_url": "u", "name": "m", "more": 1}, "decision": {"approval_key": "k", "approved": False}}
        task = Task.from_frame(frame)
        self.assertEqual((task.checkpoint, task.model.api_key, task.decision.approved), (b"AB", "none", False))

class ObjectStores(unittest.TestCase):
    def test_the_signature_is_the_one_of_the_published_example(self):
        store = s3.Store("https://s3.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        headers = {"host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9"}
        signed = store.sign("/test.txt", "", headers, datetime(2013, 5, 24, tzinfo=timezone.utc))
        self.assertTrue(signed["authorization"].endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"))

    def test_addresses_are_quoted(self):
        url, headers = s3.Store("https://store.example/base", "us-east-1").request("b", "a b/c.csv", {"prefix": "x/y"})
        self.assertEqual((url, headers), ("https://store.example/base/b/a%20b/c.csv?prefix=x%2Fy", {"host": "store.example"}))
