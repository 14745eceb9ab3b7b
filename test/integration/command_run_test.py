"""`ganglion run` as its users meet it: the built program on real files.

    command_run_test.py path/to/ganglion [unittest arguments]
"""

import fcntl
import hashlib
import json
import os
import pty
import re
import resource
import struct
import subprocess
import termios
import unittest
from pathlib import Path

import numpy
import torch

from command_support import GANGLION, Command, at, at_or_model, call, environment, folder, model, source


class Run(Command):
    def alone(self, name, *tensors):
        return torch.jit.load(at(f"{name}.source.pt")).eval()(*tensors)

    def test_S12_S26_any_number_of_rows_answers_as_the_module_alone(self):
        for rows in (0, 5, 9):
            x = torch.rand(rows, 3)
            answer, report = self.run_json("linear", [x])
            self.assertIsInstance(answer, torch.Tensor)
            self.assertEqual(answer.untyped_storage().nbytes() if hasattr(answer, "untyped_storage")
                             else answer.storage().nbytes(), 4 * answer.numel())
            torch.testing.assert_close(answer, self.alone("linear", x).detach())
            self.assertEqual((report["rows"], report["executions"]), (rows, -(-rows // 4)))

    def test_S25_cores_that_stay_idle_are_said_once(self):
        _, report = self.run_json("linear", [torch.rand(1, 3)], warnings=1)
        self.assertIn("idle", report["warnings"][0])

    def test_json_is_one_object_on_stdout(self):
        _, report = self.run_json("linear", [torch.rand(8, 3)])
        self.assertEqual(report["cores"], [0, 1])
        self.assertEqual(report["outputs"], [{"name": "output", "dtype": "f32", "shape": [8, 4], "spec": "f32[8,4]"}])
        self.assertEqual((report["output"], report["warnings"]), (at("out.pt"), []))
        self.assertGreater(report["seconds"], 0)

    def test_what_a_model_prints_goes_to_stderr(self):
        torch.save(torch.rand(2, 2), at("in.pt"))
        result = call("run", model("prints"), "--input", at("in.pt"), "--output", at("out.pt"), "--json")
        self.assertEqual(json.loads(result.stdout)["rows"], 2)
        self.assertIn("rows: 1\n", result.stderr)

    def test_numpy_files_go_in_and_come_out(self):
        x = numpy.random.default_rng(1).random((6, 3), dtype=numpy.float32)
        numpy.save(at("in.npy"), numpy.asfortranarray(x))
        result = self.accepted("run", model("linear"), "--input", at("in.npy"), "--output", at("out.npy"))
        self.assertIn("6 rows", result.stdout)
        self.assertIn(f"{at('out.npy')} output: f32[6,4]\n", result.stdout)
        answer = numpy.load(at("out.npy"))
        self.assertIsInstance(answer, numpy.ndarray)
        numpy.testing.assert_allclose(answer, self.alone("linear", torch.from_numpy(x)).detach().numpy(), rtol=1e-5)

    def test_several_inputs_and_a_tuple_in_one_file_are_the_same(self):
        a, b = torch.rand(5, 3), torch.rand(5, 3)
        answer, report = self.run_json("pair", [a, b])
        self.assertIsInstance(answer, tuple)
        self.assertEqual(report["rows"], 5)
        for got, wanted in zip(answer, self.alone("pair", a, b), strict=True):
            torch.testing.assert_close(got, wanted)
        again, _ = self.run_json("pair", [(a, b)])
        torch.testing.assert_close(again, answer)

    def test_S3_device_ids_keep_their_order(self):
        _, report = self.run_json("linear", [torch.rand(8, 3)], "--device-ids", "nc:1,0")
        self.assertEqual(report["cores"], [1, 0])

    def test_S3_what_names_no_visible_core_is_invalid_device_id(self):
        for ids in ("nc:-1", "-1", "NC:0", "cuda:0", "nc:2", "2", "0,nc:0"):
            wanted = ids.split(",")[-1]
            self.run_refused("invalid_device_id", "linear", torch.rand(1, 3), "--device-ids", ids, text=[wanted, "2"])

    def test_S9_dim_counts_from_the_end_too(self):
        x = torch.rand(4, 6)
        answer, report = self.run_json("linear", [x], "--dim", "-1", warnings=1)
        torch.testing.assert_close(answer, torch.cat([self.alone("linear", part).detach() for part in x.split(3, 1)], 1))
        self.assertEqual(len(report["warnings"]), 1)

    def test_S9_dim_out_of_range(self):
        for dim in ("2", "-3"):
            self.run_refused("dim_out_of_range", "linear", torch.rand(4, 3), "--dim", dim, text=dim)

    def test_S11_one_warning_where_dynamic_batching_is_not_possible(self):
        x = torch.rand(8, 3)
        answer, report = self.run_json("mixes", [x], warnings=1)
        torch.testing.assert_close(answer, torch.cat([part - part.mean(0) for part in x.split(4)]))
        self.assertIn("row", report["warnings"][0])

    def test_S13_S14_without_dynamic_batching_each_core_takes_the_compiled_size(self):
        x = torch.rand(8, 3)
        answer, _ = self.run_json("linear", [x], "--no-dynamic-batching")
        torch.testing.assert_close(answer, self.alone("linear", x).detach())
        self.run_refused("batch_size_mismatch", "linear", torch.rand(6, 3), "--no-dynamic-batching", text=["6", "2", "4"])

    def test_S19_num_workers(self):
        for n in ("0", "-1"):
            self.run_refused("invalid_argument", "linear", torch.rand(1, 3), "--num-workers", n, text=n)
        self.run_json("linear", [torch.rand(9, 3)], "--num-workers", "1")

    def test_S20_split_size(self):
        for n in ("0", "-1"):
            self.run_refused("invalid_argument", "linear", torch.rand(1, 3), "--split-size", n, text=n)
        _, report = self.run_json("linear", [torch.rand(9, 3)], "--split-size", "2")
        self.assertEqual(report["executions"], 5)

    def test_S21_inputs_of_different_sizes_are_shape_mismatch(self):
        self.run_refused("shape_mismatch", "pair", (torch.rand(5, 3), torch.rand(4, 3)), text=["5", "4"])
        self.run_refused("shape_mismatch", "pair", torch.rand(5, 3))

    def test_S22_answers_that_differ_are_gather_mismatch(self):
        self.run_refused("gather_mismatch", "width", torch.tensor([[0.0], [5.0]]))

    def test_S22_single_numbers_become_a_vector(self):
        x = torch.rand(4, 3)
        answer, _ = self.run_json("total", [x], warnings=2)
        torch.testing.assert_close(answer, torch.stack([x[:2].sum(), x[2:].sum()]))

    def test_S23_inputs_that_do_not_fit_are_shape_mismatch(self):
        self.run_refused("shape_mismatch", "linear", torch.rand(4, 5), text=["x", "f32[4,5]", "3"])
        self.run_refused("shape_mismatch", "linear", torch.rand(4, 3).double(), text=["f64[4,3]", "f32"])
        self.run_refused("shape_mismatch", "linear", (torch.rand(4, 3), torch.rand(4, 3)), text=["2", "1"])

    def test_S24_a_failed_chunk_fails_the_request_with_the_models_words(self):
        line = self.run_refused("forward_failed", "fails", torch.tensor([[1.0, 1.0], [9.0, 1.0], [1.0, 1.0]]))
        self.assertIn("a value above five", line)
        self.assertRegex(line, r"core|nc:")

    def test_what_is_no_tensor_file_is_refused(self):
        (folder / "text.txt").write_text("no tensor\n")
        (folder / "empty.npy").write_bytes(b"")
        torch.save({"x": torch.rand(1, 3)}, at("dict.pt"))
        run = ["run", model("linear"), "--output", at("out.pt"), "--input"]
        for name in ("text.txt", "empty.npy", "dict.pt", "linear"):
            self.refused("invalid_argument", *run, at_or_model(name), text=name)
        self.refused("io_failed", *run, at("missing.pt"), text="missing.pt")
        self.refused("io_failed", *run, str(folder), text=str(folder))

    def test_the_output_must_not_be_what_is_read(self):
        torch.save(torch.rand(4, 3), at("in.pt"))
        os.symlink(at("in.pt"), at("soft-in.pt"))
        os.link(at("in.pt"), at("hard-in.pt"))
        read = {path: hashlib.sha256(Path(path).read_bytes()).digest() for path in (at("in.pt"), model("linear"))}
        for output in (at("in.pt"), at("soft-in.pt"), at("hard-in.pt"), model("linear")):
            self.refused("invalid_argument", "run", model("linear"), "--input", at("in.pt"), "--output", output, text=output)
        (folder / "library.so").write_bytes(b"a library")
        run = ["run", model("linear"), "--input", at("in.pt"), "--op-library", at("library.so")]
        self.refused("invalid_argument", *run, "--output", at("library.so"), text="library.so")
        self.refused("invalid_argument", *run, "--output", at("out.pt"), "--trace-out", at("library.so"), text="library.so")
        self.assertEqual((folder / "library.so").read_bytes(), b"a library")
        for path, digest in read.items():
            self.assertEqual(hashlib.sha256(Path(path).read_bytes()).digest(), digest)

    def test_the_timeline_has_the_executions_and_the_request_from_its_coming_to_its_answer(self):
        _, report = self.run_json("linear", [torch.rand(9, 3)], "--trace-out", at("run.json"))
        events = json.loads((folder / "run.json").read_text())
        executions = [e["args"] for e in events if e.get("cat") == "execution"]
        self.assertEqual(len(executions), report["executions"])
        self.assertEqual(sum(e["rows"] for e in executions), 9)
        flows = {phase: [e for e in events if e.get("ph") == phase] for phase in "sf"}
        self.assertEqual([e["id"] for e in flows["s"]], [e["id"] for e in flows["f"]])
        self.assertEqual(len(flows["s"]), 1)

    def test_two_outputs_must_not_be_one_file(self):
        torch.save(torch.rand(4, 3), at("in.pt"))
        os.symlink(at("out.pt"), at("soft-out.pt"))
        for timeline in ("out.pt", "soft-out.pt"):
            self.refused("invalid_argument", "run", model("linear"), "--input", at("in.pt"), "--output", at("out.pt"),
                         "--trace-out", at(timeline), text=[at("out.pt"), at(timeline), "one file"])

    def test_an_unwritable_output_is_io_failed(self):
        torch.save(torch.rand(7, 3), at("seven.pt"))
        run = ["run", model("linear"), "--input", at("seven.pt"), "--output"]
        self.refused("io_failed", *run, at("nowhere/out.pt"), text="nowhere")
        self.refused("io_failed", *run, str(folder), text=str(folder))
        self.refused("io_failed", *run, "/dev/full", text="/dev/full")

    def test_an_output_beyond_the_limit_on_file_sizes_is_io_failed(self):
        torch.save(torch.rand(100, 3), at("in.pt"))
        result = subprocess.run([GANGLION, "run", model("linear"), "--input", at("in.pt"), "--output", at("out.pt")],
                                env=environment(), capture_output=True, text=True,
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(result.stderr, r"^ganglion: error\[io_failed\]: '.*out.pt' cannot be written: File too large\n$")
        self.assertFalse((folder / "out.pt").exists())

    def test_an_output_that_cannot_be_written_is_refused_before_the_model_is_read(self):
        for path in self.UNWRITABLE:
            self.refused("io_failed", "run", at("missing.pt"), "--input", at("missing.pt"), "--output", path, text=path)

    @unittest.skipIf(os.geteuid() == 0, "root may write to every file")
    def test_an_output_that_is_write_protected_is_kept(self):
        protected = folder / "protected.pt"
        protected.write_bytes(b"kept")
        protected.chmod(0o444)
        self.refused("io_failed", "run", at("missing.pt"), "--input", at("missing.pt"), "--output", str(protected))
        self.assertEqual(protected.read_bytes(), b"kept")

    def test_a_run_that_cannot_say_what_it_did_fails_and_its_whole_output_stays(self):
        torch.save(torch.rand(4, 3), at("in.pt"))
        (folder / "out.pt").write_bytes(b"from before")
        with open("/dev/full", "w") as full:
            result = subprocess.run([GANGLION, "run", model("linear"), "--input", at("in.pt"), "--output", at("out.pt"),
                                     "--json"], env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("ganglion: error[io_failed]: ", result.stderr)
        self.assertIn("is written and whole", result.stderr)
        self.assertEqual(torch.load(at("out.pt")).shape, (4, 4))

    def test_a_name_of_any_legal_length_and_npy_in_capitals(self):
        torch.save(torch.rand(8, 3), at("in.pt"))
        self.accepted("run", model("linear"), "--input", at("in.pt"), "--output", at("x" * 249 + ".NPY"))
        self.assertEqual(numpy.load(at("x" * 249 + ".NPY")).shape, (8, 4))
        self.refused("invalid_argument", "run", model("pair"), "--input", at("missing.pt"), "--output", at("pair.NPY"),
                     text="tuple")

    def test_an_empty_output_path_is_said_to_be_empty(self):
        self.refused("io_failed", "run", at("missing.pt"), "--input", at("missing.pt"), "--output", "", text="is empty")

    def test_json_is_valid_whatever_bytes_a_path_has(self):
        torch.save(torch.rand(4, 3), at("in.pt"))
        output = os.fsencode(str(folder)) + b"/o\xff.pt"
        result = subprocess.run([GANGLION, "run", model("linear"), "--input", at("in.pt"), "--output", output, "--json"],
                                env=environment(), capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(json.loads(result.stdout.decode("utf-8"))["output"].endswith("/o\ufffd.pt"))
        self.assertTrue(os.path.exists(output))

    def test_every_line_of_a_models_message_is_said(self):
        torch.save(torch.full((1, 2), 9.0), at("in.pt"))
        result = call("run", model("talks"), "--input", at("in.pt"), "--output", at("out.pt"))
        self.assertIn("first line; the second is of c10::foo", result.stderr)

    def test_a_tuple_to_npy_is_refused_before_anything_runs(self):
        self.refused("invalid_argument", "run", model("pair"), "--input", at("missing.pt"), "--output", at("out.npy"),
                     text=["out.npy", "tuple", ".pt"])

    def test_a_type_that_numpy_lacks_is_refused(self):
        torch.save(torch.rand(1, 2), at("in.pt"))
        self.refused("invalid_argument", "run", model("half"), "--input", at("in.pt"), "--output", at("out.npy"),
                     text=["out.npy", "bf16"])

    def test_a_pipe_is_no_file(self):
        os.mkfifo(at("a-pipe"))
        torch.save(torch.ones(1, 3), at("rows.pt"))
        for read, written in ((at("a-pipe"), at("out.pt")), (at("rows.pt"), at("a-pipe"))):
            self.refused("io_failed", "run", model("linear"), "--input", read, "--output", written,
                         text=["a-pipe", "a folder, a device, a pipe or a socket"])

    def test_an_output_from_before_is_replaced_whole_or_kept(self):
        (folder / "old.pt").write_bytes(b"old")
        torch.save(torch.full((1, 2), 9.0), at("in.pt"))
        result = call("run", model("fails"), "--input", at("in.pt"), "--output", at("old.pt"))
        self.assertEqual((result.returncode, (folder / "old.pt").read_bytes()), (1, b"old"))
        torch.save(torch.full((2, 2), 1.0), at("in.pt"))
        self.accepted("run", model("fails"), "--input", at("in.pt"), "--output", at("old.pt"))
        self.assertIsInstance(torch.load(at("old.pt")), torch.Tensor)
        self.assertEqual([path.name for path in folder.glob(".*")], [])

    def test_progress_is_shown_on_a_terminal(self):
        self.shown_on_a_terminal_until(b"ganglion: 0 of 1 row done on 2 cores")

    def test_progress_is_shown_while_the_model_is_loaded_and_while_the_cores_warm_up(self):
        torch.save(torch.rand(1, 2), at("in.pt"))
        path = model("long")
        self.shown_until(f"ganglion: loading {path}".encode(), "info", path)
        for name, text in ("long", "loading"), ("weary", "warming up"):
            path = model(name)
            self.shown_until(f"ganglion: {text} {path}".encode(), "run", path, "--input", at("in.pt"), "--output",
                             at("never.pt"))

    def test_progress_fits_on_a_narrow_terminal(self):
        shown = self.shown_on_a_terminal_until(b"\r\x1b[Kganglion: 0 of 1 row", columns=23)
        progress = [line for line in re.split(rb"\r\n|\r\x1b\[K", shown) if not line.startswith(b"ganglion: warning: ")]
        self.assertLessEqual(max(len(line) for line in progress), 22, shown)

    def shown_on_a_terminal_until(self, text, columns=0):
        torch.save(torch.full((1, 2), 1e9), at("endless.pt"))
        return self.shown_until(text, "run", model("slow"), "--input", at("endless.pt"), "--output", at("never.pt"),
                                columns=columns)

    def shown_until(self, text, *arguments, columns=0):
        terminal, stderr = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([GANGLION, *arguments], env=environment(), stdout=subprocess.DEVNULL, stderr=stderr)
        os.close(stderr)
        try:
            shown = b""
            while text not in shown:
                shown += os.read(terminal, 1000)  # fails where the command ends before
        finally:
            process.kill()
            process.wait()
            os.close(terminal)
        return shown


if __name__ == "__main__":
    unittest.main(verbosity=2)
