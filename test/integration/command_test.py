"""The `ganglion` command as its users meet it: the built program, real files, real processes.

    command_test.py path/to/ganglion [unittest arguments]
"""

import contextlib
import json
import os
import pty
import signal
import subprocess
import time
import unittest
import zipfile
from pathlib import Path

import torch
from torch import nn

from command_support import (GANGLION, AlwaysTraining, Command, CountsCalls, Linear, NoTensor, Pair, at, call, environment,
                             folder, model, source, write_source)


class CommandLine(Command):
    def test_help_and_version_go_to_stdout_with_status_0(self):
        for arguments in (["--help"], ["run", "--help"], ["--version"]):
            result = self.accepted(*arguments)
            self.assertRegex(result.stdout, r"Usage: ganglion|^ganglion \d+\.\d+\.\d+\n$")

    def test_what_cannot_be_read_is_one_line_and_status_2(self):
        self.unreadable(text="cores, trace, info, run, bench or tune")
        self.unreadable("walk", text=["walk", "cores, trace, info, run, bench and tune"])
        self.unreadable("cores", "--colour", text="--colour")
        self.unreadable("info", text="MODEL")
        self.unreadable("info", "--colour", text="'--colour' is no option of info")
        self.unreadable("cores", "--json=3", text="--json takes no value")
        run = ["run", "m.pt", "--input", "i.pt", "--output", "o.pt"]
        self.unreadable(*run[:-2], text="--output")
        self.unreadable(*run[:2], *run[4:], text="--input")
        self.unreadable(*run, "--dim", text="--dim")
        self.unreadable(*run, "--dim", "x", text=["--dim", "'x'"])
        self.unreadable(*run, "--split-size", "1.5", text="1.5")
        self.unreadable(*run, "--output", "again.pt", text="--output")

    def test_a_malformed_input_spec_is_status_2_and_quoted(self):
        for text in ("f32[1,3", "f33[1,3]", "f32[0,3]", ""):
            self.unreadable("trace", source("linear"), "--input", text, "--output", at("out.pt"), text=f"'{text}'")
        self.unreadable("trace", "m.pt", "--input", "f32[1]", "--output", "o.pt", "--auto-cast", "fp8", text="fp8")

    def test_a_verb_that_is_also_a_file_name_is_a_file_name(self):
        self.refused("model_load_failed", "info", "cores", text="'cores'")

    def test_a_number_that_is_too_large_is_refused_as_a_value(self):
        self.run_refused("invalid_argument", "linear", torch.rand(1, 3), "--dim", "9" * 30, text="9" * 30)

    def test_a_number_of_threads_that_is_none_is_told_once_and_left_out(self):
        for text in ("abc", "0", "-1", "99999999999"):
            result = call("info", model("linear"), OMP_NUM_THREADS=text)
            self.assertEqual(result.returncode, 0, result.stderr)
            lines = [line for line in result.stderr.splitlines() if line and not line.startswith("libgomp: ")]
            self.assertEqual(len(lines), 1, result.stderr)
            self.assertIn(f"OMP_NUM_THREADS is '{text}', which is no number of threads", lines[0])

    def test_a_full_stdout_is_an_error(self):
        for arguments in (["cores"], ["--help"], ["run", "--help"], ["--version"]):
            with open("/dev/full", "w") as full:
                result = subprocess.run([GANGLION, *arguments], env=environment(), stdout=full, stderr=subprocess.PIPE,
                                        text=True)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertIn("ganglion: error[io_failed]: ", result.stderr)

    def test_a_number_of_no_core_is_invalid_device_id(self):
        for number in ("4294967296", "9" * 30, "-1"):
            self.run_refused("invalid_device_id", "linear", torch.rand(1, 3), "--device-ids", number,
                             text=[number, "is not a visible core", "2 NeuronCores"])


class Cores(Command):
    def cores(self, *arguments, **variables):
        return json.loads(self.accepted("cores", "--json", *arguments, **variables).stdout)["cores"]

    def places(self, **variables):
        return [(c["index"], c["global"], c["chip"], c["core"]) for c in self.cores(**variables)]

    def test_S5_sixteen_cores_are_four_chips_of_four(self):
        cores = self.places(GANGLION_HOST_CORES="16")
        self.assertEqual(cores, [(i, i, i // 4, i % 4) for i in range(16)])
        table = self.accepted("cores", GANGLION_HOST_CORES="16").stdout
        self.assertRegex(table, r"(?m)^nc:0 +0 +chip0:core0\b")
        self.assertRegex(table, r"(?m)^nc:14 +14 +chip3:core2\b")

    def test_S4_S7_visible_cores_keep_their_order_and_win_over_the_number(self):
        cores = self.places(GANGLION_HOST_CORES="16", NEURON_RT_VISIBLE_CORES="9,2,4-5", NEURON_RT_NUM_CORES="1")
        self.assertEqual(cores, [(0, 9, 2, 1), (1, 2, 0, 2), (2, 4, 1, 0), (3, 5, 1, 1)])
        self.assertEqual(self.places(GANGLION_HOST_CORES="16", NEURON_RT_VISIBLE_CORES="3"), [(0, 3, 0, 3)])

    def test_S7_bad_text_is_refused_with_the_variable_and_its_value(self):
        for text in ("x", "1-0", "1,1", "2"):
            self.refused("invalid_argument", "cores", NEURON_RT_VISIBLE_CORES=text, text=["NEURON_RT_VISIBLE_CORES", text])
        for name in ("NEURON_RT_NUM_CORES", "GANGLION_HOST_CORES"):
            self.refused("invalid_argument", "cores", **{name: "-1"}, text=[name, "-1"])
        self.run_refused("invalid_argument", "linear", torch.rand(1, 3), NEURON_RT_VISIBLE_CORES="0-2",
                         text=["NEURON_RT_VISIBLE_CORES", "0-2"])

    def test_S7_no_visible_core_is_core_unavailable(self):
        self.refused("core_unavailable", "cores", NEURON_RT_VISIBLE_CORES="")
        self.run_refused("core_unavailable", "linear", torch.rand(1, 3), NEURON_RT_NUM_CORES="0")

    def test_S7_more_cores_than_the_host_has_are_core_unavailable(self):
        self.refused("core_unavailable", "cores", NEURON_RT_NUM_CORES="3", text=["3", "2"])


class TwoProcesses(Command):
    @contextlib.contextmanager
    def holder(self, visible):
        """Another process that runs a request on these cores of a host of 16 until the end of the block."""
        torch.save(torch.full((1, 2), 1e9), at("endless.pt"))
        process = subprocess.Popen(
            [GANGLION, "run", model("slow"), "--input", at("endless.pt"), "--output", at("never.pt")],
            env=environment(GANGLION_HOST_CORES="16", NEURON_RT_VISIBLE_CORES=visible), stderr=subprocess.PIPE, text=True)
        try:
            while any(c["held_by"] != process.pid for c in self.cores(visible)):
                self.assertIsNone(process.poll(), "the holder ended")
                time.sleep(0.05)
            process.send_signal(signal.SIGSTOP)  # it keeps its locks, and its endless loop slows nobody down
            yield process
            self.assertIsNone(process.poll(), "the holder ended")
        finally:
            process.kill()
            process.communicate()
        self.assertFalse((folder / "never.pt").exists())

    def cores(self, visible):
        text = self.accepted("cores", "--json", GANGLION_HOST_CORES="16", NEURON_RT_VISIBLE_CORES=visible).stdout
        return json.loads(text)["cores"]

    def on(self, cores, visible):
        """Runs on the given cores of this process, which is the second one."""
        return self.run_json("linear", [torch.rand(8, 3)], "--device-ids", cores,
                             GANGLION_HOST_CORES="16", NEURON_RT_VISIBLE_CORES=visible)[1]["cores"]

    def not_on(self, core, visible, code="invalid_device_id", text=()):
        self.run_refused(code, "linear", torch.rand(8, 3), "--device-ids", core, text=text,
                         GANGLION_HOST_CORES="16", NEURON_RT_VISIBLE_CORES=visible)

    def test_S6_two_processes_see_their_own_cores_from_zero(self):
        with self.holder("0-6"):
            second = self.cores("7-15")
            self.assertEqual([(c["chip"], c["core"]) for c in second][::7], [(1, 3), (3, 2)])
            self.assertEqual(self.on("nc:7,nc:0", "7-15"), [7, 0])
            self.not_on("nc:14", "7-15", text=["nc:14", "9"])
        with self.holder("7-15"):
            first = self.cores("0-6")
            self.assertEqual((first[0]["chip"], first[0]["core"], len(first)), (0, 0, 7))
            self.assertEqual(self.on("nc:0", "0-6"), [0])
            self.not_on("nc:14", "0-6", text=["nc:14", "7"])

    def test_S8_a_core_belongs_to_one_process_until_it_ends_in_any_way(self):
        with self.holder("0-6") as process:
            self.not_on("nc:0", "6-8", code="core_unavailable", text=["6", str(process.pid)])
            self.assertEqual([c["held_by"] for c in self.cores("6-7")], [process.pid, None])
            taken = self.accepted("cores", "--json", GANGLION_HOST_CORES="16", NEURON_RT_NUM_CORES="2")
            self.assertEqual([c["global"] for c in json.loads(taken.stdout)["cores"]], [7, 8])
            self.refused("core_unavailable", "cores", GANGLION_HOST_CORES="16", NEURON_RT_NUM_CORES="10",
                         text=str(process.pid))
            # Without either variable nothing is locked, and nothing clashes.
            self.run_json("linear", [torch.rand(64, 3)], GANGLION_HOST_CORES="16")
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertEqual(self.on("nc:0", "6-8"), [0])


class Trace(Command):
    def trace(self, code, module, *specs, text=()):
        write_source("bad.source.pt", module)
        inputs = [word for s in specs for word in ("--input", s)]
        self.refused(code, "trace", at("bad.source.pt"), *inputs, "--output", at("out.pt"), text=text)

    def test_a_traced_model_says_what_it_is(self):
        result = self.accepted("trace", source("linear"), "--input", "f32[4,3]", "--auto-cast", "bf16", "--output",
                               at("out.pt"), ONEDNN_MAX_CPU_ISA="AVX2")
        for text in ("x: f32[4,3]", "output: f32[4,4]", "+bf16", "dynamic batching  yes"):
            self.assertIn(text, result.stdout)
        self.assertRegex(result.stderr, r"computes in bf16, for which this CPU \(.*, avx2\) has no instructions")
        self.assertIsInstance(torch.jit.load(at("out.pt")), torch.jit.ScriptModule)
        self.accepted("trace", source("linear"), "--input", "f32[4,3]", "--auto-cast", "none", "--output", at("out.pt"))

    def test_a_module_that_was_saved_in_training_mode_is_traced_in_eval_mode_with_a_warning(self):
        warning = "the module was in training mode; it was traced in eval mode"
        parts = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout())
        for root_trains in (True, False):
            module = torch.jit.script(parts.train())
            module.training = root_trains
            torch.jit.save(module, at("training.source.pt"))
            traced = self.accepted("trace", at("training.source.pt"), "--input", "f32[4,3]", "--no-tune", "--output",
                                   at("out.pt"), warnings=1)
            self.assertEqual(traced.stderr, f"ganglion: warning: {warning}\n")
            self.assertEqual(json.loads(self.accepted("info", at("out.pt"), "--json", warnings=1).stdout)["warnings"],
                             [warning])

    def test_several_batches_and_lengths_are_programs_of_one_model_which_pads_and_trims(self):
        out = at("several.pt")
        self.accepted("trace", source("pair"), "--input", "f32[1,8]", "--input", "f32[1,8]", "--also", "f32[1,4];f32[1,4]",
                      "--batches", "1,4", "--no-tune", "--output", out)
        programs = json.loads(self.accepted("info", out, "--json").stdout)["programs"]
        shapes = [program["inputs"][0]["shape"] for program in programs]
        self.assertEqual(shapes, [[1, 8], [4, 8], [1, 4], [4, 4]])
        a, b = torch.rand(7, 3), torch.rand(7, 3)
        torch.save((a, b), at("short.pt"))
        run = ["run", out, "--input", at("short.pt"), "--output", at("answer.pt")]
        self.refused("shape_mismatch", *run, text=("3", "pad_values"))
        self.accepted(*run, "--pad-value", "-1")
        total, double = torch.load(at("answer.pt"))
        self.assertTrue(torch.equal(total, a + b))
        self.assertTrue(torch.equal(double, a * 2))
        self.refused("invalid_argument", *run, "--pad-value", "0", "--pad-value", "1", "--pad-value", "2", text="3 pad_values")

    def test_sizes_that_cannot_be_read_or_used_are_refused(self):
        trace = ["trace", source("linear"), "--input", "f32[1,3]", "--output", at("out.pt")]
        for batches in ("1,x", "1,,2", "1.5"):
            self.unreadable(*trace, "--batches", batches, text=f"'{batches}'")
        self.unreadable(*trace, "--batches", "", text="--batches is empty")
        for batches in ("0", "1,-1", "9" * 30):
            self.refused("invalid_argument", *trace, "--batches", batches, text=f"--batches has {batches.split(',')[-1]}")
        self.unreadable(*trace, "--also", "f32[2", text="f32[2")
        self.refused("invalid_argument", *trace, "--batches", "2,2", text="two examples have the same sizes")
        self.refused("shape_mismatch", *trace, "--also", "f32[2,3];f32[2,3]", text="2 arguments")

    def test_S10_a_model_that_mixes_rows_is_told_so(self):
        result = self.accepted("trace", source("mixes"), "--input", "f32[4,3]", "--no-tune", "--output", at("out.pt"))
        self.assertRegex(result.stdout, r"dynamic batching  no: .*row")

    def test_S18_what_changes_itself_or_trains_is_unsupported(self):
        self.trace("unsupported_model", CountsCalls(), "f32[1,2]", text="calls")
        self.trace("unsupported_model", AlwaysTraining(), "f32[1,2]", text="dropout")

    def test_a_model_without_a_tensor_to_answer_is_unsupported(self):
        self.trace("unsupported_model", NoTensor(), "f32[1,2]", text="tensor")

    def test_an_example_that_does_not_fit_is_refused(self):
        self.trace("shape_mismatch", Pair(), "f32[1,2]", text="2")
        self.trace("forward_failed", Linear(), "f32[1,5]")

    def test_an_example_that_no_machine_holds_is_refused(self):
        for spec in ("f32[1000000000000,3]", "f32[4000000000,4000000000]", f"f32[{'9' * 30}]"):
            self.refused("invalid_argument", "trace", source("linear"), "--input", spec, "--output", at("out.pt"), text=spec)
        self.refused("invalid_argument", "trace", source("linear"), "--input", "f32[1000000000000,3]", "--output",
                     at("out.pt"), text="GiB")

    def test_the_output_must_not_be_the_model_and_must_be_writable(self):
        module = source("linear")
        before = Path(module).read_bytes()
        trace = ["trace", module, "--input", "f32[4,3]", "--no-tune", "--output"]
        os.symlink(module, at("soft.pt"))
        os.link(module, at("hard.pt"))
        for path in (module, at("soft.pt"), at("hard.pt")):
            self.refused("invalid_argument", *trace, path, text=path)
        self.assertEqual(Path(module).read_bytes(), before)
        # Nor one of the other files that are read.
        torch.save(torch.rand(4, 3), at("read.pt"))
        before = (folder / "read.pt").read_bytes()
        for option in ("--calibration", "--op-library"):
            self.refused("invalid_argument", *trace, at("read.pt"), option, at("read.pt"), text=["read.pt", "which is read"])
        self.assertEqual((folder / "read.pt").read_bytes(), before)
        self.refused("io_failed", *trace, at("nowhere/out.pt"), text="nowhere")
        self.refused("io_failed", *trace, str(folder), text=str(folder))

    def test_an_output_that_cannot_be_written_is_refused_before_the_model_is_read(self):
        for path in self.UNWRITABLE:
            self.refused("io_failed", "trace", at("missing.pt"), "--input", "f32[1]", "--output", path, text=path)


class ModelFiles(Command):
    def test_what_is_no_model_is_model_load_failed(self):
        whole = Path(model("linear")).read_bytes()
        files = {"missing.pt": None, "empty.pt": b"", "cut.pt": whole[:len(whole) // 2], "text.pt": b"not a model\n"}
        for name, content in files.items():
            if content is not None:
                (folder / name).write_bytes(content)
        torch.save(torch.rand(2), at("tensor.pt"))
        torch.save({"weight": torch.rand(2)}, at("dict.pt"))
        for path in (*(at(name) for name in files), at("tensor.pt"), at("dict.pt"), str(folder)):
            self.refused("model_load_failed", "info", path, text=path)
        self.refused("model_load_failed", "trace", at("cut.pt"), "--input", "f32[1]", "--output", at("out.pt"), text="cut.pt")
        self.run_refused("model_load_failed", "missing.pt", torch.rand(1, 3), text="missing.pt")

    def rewritten(self, name, edit):
        """A copy of the linear model whose records went through `edit(name, bytes)`; None leaves one out."""
        with zipfile.ZipFile(model("linear")) as old, zipfile.ZipFile(at(name), "w", zipfile.ZIP_STORED) as new:
            for record in old.namelist():
                content = edit(record.partition("/")[2], old.read(record))
                if content is not None:
                    new.writestr(record, content)
        return at(name)

    def test_weights_that_were_cut_are_told_with_both_sizes(self):
        path = self.rewritten("short.pt", lambda name, content: content[:8] if name == "data/0" else content)
        sizes = (["data/0", "8 bytes", "48"], ["data/0", "8 bytes", "16"])
        line = self.refused("model_load_failed", "info", path, text=["data/0", "8 bytes"])
        self.assertTrue(any(all(part in line for part in parts) for parts in sizes), line)

    def test_a_damaged_record_is_said_without_the_places_in_libtorchs_sources(self):
        for record in ("version", "data.pkl", "constants.pkl", "data/0"):
            for kind, damage in (("gone", lambda content: None), ("cut", lambda content: content[:len(content) // 2]),
                                 ("junk", lambda content: b"\xff" * len(content))):
                if (record, kind) == ("version", "cut"):
                    continue  # is "3" without the end of its line
                with self.subTest(record=record, kind=kind):
                    path = self.rewritten("damaged.pt", lambda name, content: damage(content) if name == record else content)
                    result = subprocess.run([GANGLION, "info", path], env=environment(), capture_output=True, timeout=60)
                    self.assertEqual(result.returncode, 1, result.stderr)
                    self.assertIn(b"error[model_load_failed]", result.stderr)
                    for noise in (b"enforce fail", b"INTERNAL ASSERT", b".cpp", b".cc:"):
                        self.assertNotIn(noise, result.stderr)
                    self.assertFalse(result.stderr.rstrip().endswith((b":", b": )")), result.stderr)

    def test_a_pipe_is_refused_and_not_waited_for(self):
        os.mkfifo(at("pipe.pt"))
        self.refused("model_load_failed", "info", at("pipe.pt"), text="pipe")
        self.refused("model_load_failed", "trace", at("pipe.pt"), "--input", "f32[1]", "--output", at("out.pt"), text="pipe")

    def test_S18_a_plain_torchscript_file_is_told_how_to_trace_it(self):
        source("linear")
        self.run_refused("model_load_failed", "linear.source.pt", torch.rand(1, 3), text="ganglion trace")

    def test_S16_a_model_of_several_pipeline_cores_is_unsupported(self):
        module = torch.jit.load(model("linear"))
        signature = json.loads(module.ganglion_signature)
        signature["pipeline_cores"] = 4
        module.ganglion_signature = json.dumps(signature)
        torch.jit.save(module, at("pipeline.pt"))
        self.run_refused("unsupported_model", "pipeline.pt", torch.rand(1, 3), text=["Pipeline", "4"])

    def test_a_model_survives_torch_jit_save(self):
        torch.jit.save(torch.jit.load(model("linear")), at("again.pt"))
        self.run_json("again.pt", [torch.rand(7, 3)])

    def test_a_bf16_model_is_one_after_torch_jit_save_too(self):
        self.accepted("trace", source("linear"), "--input", "f32[4,3]", "--no-tune", "--auto-cast", "bf16", "--output",
                      at("coarse.pt"))
        torch.jit.save(torch.jit.load(at("coarse.pt")), at("again.pt"))
        hashes = set()
        for name in ("coarse.pt", "again.pt"):
            info = json.loads(self.accepted("info", at(name), "--json").stdout)
            self.assertIn("+bf16", info["recipe"])
            hashes.add(info["content_hash"])
        self.assertEqual(len(hashes), 1)

    def test_info_shows_the_signature_and_the_libraries(self):
        info = json.loads(self.accepted("info", model("linear"), "--json").stdout)
        self.assertEqual(info["inputs"], [{"name": "x", "dtype": "f32", "shape": [4, 3], "spec": "f32[4,3]"}])
        self.assertEqual(info["outputs"][0]["shape"], [4, 4])
        self.assertEqual((info["recipe"], info["measurements"], info["warnings"]), ("frozen", {}, []))
        self.assertIs(info["dynamic_batching"], True)
        self.assertIs(info["not_eligible"], None)
        self.assertGreaterEqual(info["weight_bytes"], 4 * (3 * 4 + 4))
        self.assertRegex(info["content_hash"], "^[0-9a-f]{16,}$")
        self.assertRegex(info["libtorch"], r"^\d+\.\d+")
        self.assertIn("f32[4,3]", self.accepted("info", model("linear")).stdout)

    def test_info_shows_openblas_whatever_the_host_has_chosen(self):
        if not list(Path("/usr/lib").glob("*/openblas-*/libblas.so.3")):
            self.skipTest("OpenBLAS is not installed")
        reference = ":".join(str(path) for path in Path("/usr/lib").glob("*/blas"))
        for variables in ({}, {"LD_LIBRARY_PATH": reference}):
            blas = json.loads(self.accepted("info", model("linear"), "--json", **variables).stdout)["blas"]
            self.assertTrue(blas)
            for path in blas:
                self.assertRegex(path, "/openblas-(openmp|serial)/")

    def test_S11_info_says_why_dynamic_batching_is_not_possible(self):
        info = json.loads(self.accepted("info", model("mixes"), "--json", warnings=0).stdout)
        self.assertIs(info["dynamic_batching"], False)
        self.assertIn("row", info["not_eligible"])


@unittest.skipUnless("OPERATOR_LIBRARY" in os.environ, "needs OPERATOR_LIBRARY and MODEL_WRITER, which CTest sets")
class OperatorLibraries(Command):
    @classmethod
    def setUpClass(cls):
        cls.library = os.environ["OPERATOR_LIBRARY"]
        subprocess.run([os.environ["MODEL_WRITER"], cls.library, at("neuron.pt"), at("neuron.source.pt")], check=True)

    def calls(self, *options):
        """Each verb that loads a model, on one whose operators are in the library."""
        torch.save(torch.ones(2, 3), at("in.pt"))
        yield ["trace", at("neuron.source.pt"), "--input", "f32[2,3]", "--no-tune", "--output", at("made.pt"), *options]
        yield ["info", at("neuron.pt"), *options]
        yield ["run", at("neuron.pt"), "--input", at("in.pt"), "--output", at("out.pt"), *options]
        yield ["bench", at("neuron.pt"), "--seconds", "0.1", *options]

    def test_a_model_that_needs_a_library_runs_with_it_alone(self):
        for arguments in self.calls():
            self.refused("model_load_failed", *arguments, text=["neuron::", "--op-library"])
        for arguments in self.calls("--op-library", self.library):
            self.assertEqual(call(*arguments).returncode, 0, arguments)
        self.assertTrue(torch.equal(torch.load(at("out.pt")), torch.full((2, 3), 2.0)))

    def test_a_library_is_a_file_also_without_a_slash(self):
        os.symlink(self.library, at("operators.so"))
        info = subprocess.run([GANGLION, "info", "neuron.pt", "--op-library", "operators.so"], cwd=folder,
                              env=environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual((info.returncode, info.stderr), (0, ""))

    def test_what_is_no_library_is_refused_in_one_sentence(self):
        Path(at("text.so")).write_text("no library\n" * 100)
        for path in (at("missing.so"), at("text.so"), str(folder)):
            for arguments in self.calls("--op-library", self.library, "--op-library", path):
                self.refused("model_load_failed", *arguments, text=f"the operator library '{path}' cannot be opened: ")
        self.unreadable("info", at("neuron.pt"), "--op-library", text="--op-library")


class Fragile(nn.Module):
    """A convolution, and then an operator of the test's library."""

    def __init__(self, operator):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.operator = operator

    def forward(self, x):
        return getattr(torch.ops.neuron, self.operator)(self.layer(x))


class CrashesWhenFrozen(nn.Module):
    """Freezing computes what depends on the weights alone, also in a branch that no row takes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.ones(2, 3).t())

    def forward(self, x):
        if bool(torch.sum(x) > 1e30):
            x = x + torch.sum(torch.ops.neuron.crashes(self.w))
        return x * 2


class HangsWhenFrozen(CrashesWhenFrozen):
    def forward(self, x):
        if bool(torch.sum(x) > 1e30):
            x = x + torch.sum(torch.ops.neuron.hangs(self.w))
        return x * 2


class CrashesAlways(nn.Module):
    def forward(self, x):
        return torch.ops.neuron.crashes(x.t())


class HangsAlways(nn.Module):
    def forward(self, x):
        return torch.ops.neuron.hangs(x.t())


class Trials(Command):
    def trace(self, module, *arguments):
        module.save(at("fragile.pt"))
        # The address sanitizer, where there is one, is not to make an ordinary end of the crash.
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"
        traced = call("trace", at("fragile.pt"), "--input", "f32[2,3,8,8]", "--op-library",
                      os.environ["OPERATOR_LIBRARY"], "--output", at("fragile.out.pt"), *arguments,
                      timeout=None, ASAN_OPTIONS=sanitizer)
        self.assertEqual(traced.returncode, 0, traced.stderr)
        return self.info()

    def shown_on_a_terminal(self, *arguments):
        """The exit status, and what came on stderr."""
        terminal, stderr = pty.openpty()
        self.addCleanup(os.close, terminal)
        process = subprocess.Popen([GANGLION, *arguments], env=environment(), stdout=subprocess.DEVNULL, stderr=stderr)
        os.close(stderr)
        shown = b""
        with contextlib.suppress(OSError):  # nobody has the terminal any more
            while True:
                shown += os.read(terminal, 1000)
        return process.wait(), shown.decode()

    def info(self, *arguments):
        info = call("info", at("fragile.out.pt"), "--op-library", os.environ["OPERATOR_LIBRARY"], "--json", *arguments)
        self.assertEqual(info.returncode, 0, info.stderr)
        return json.loads(info.stdout)

    def setUp(self):
        torch.ops.load_library(os.environ["OPERATOR_LIBRARY"])

    def test_a_program_that_crashes_the_process_is_left_out_also_when_it_is_tuned_again(self):
        module = torch.jit.trace(Fragile("crashes").eval(), torch.ones(2, 3, 8, 8), check_trace=False)
        measured = self.trace(module, "--threads", "2")["measurements"]
        self.assertEqual(measured["channels_last"], {
            "rejected": "it ended a process of its own by signal 11, Segmentation fault", "excluded": True})
        self.assertIn("seconds", measured["frozen"])
        again = self.info("--retune")
        self.assertEqual(again["tuned"]["threads"], 1)
        self.assertEqual(again["measurements"]["channels_last"], measured["channels_last"])

    def test_a_module_that_crashes_the_process_when_it_is_frozen_runs_as_it_is(self):
        report = self.trace(torch.jit.script(CrashesWhenFrozen().eval()))
        self.assertEqual(report["recipe"], "as_is")
        measured = report["measurements"]
        self.assertRegex(measured["frozen"]["rejected"], "^it ended a process of its own by signal 11")
        self.assertRegex(measured["onednn"]["rejected"], "^it is made of the frozen one, which is not tried: it ended")
        self.assertIn("seconds", measured["as_is"])
        tuned = call("tune", at("fragile.out.pt"), "--op-library", os.environ["OPERATOR_LIBRARY"], "--batches", "2",
                     "--threads-per-core", "1", "--seconds", "0.03", "--json")
        self.assertEqual(tuned.returncode, 0, tuned.stderr)
        self.assertEqual(json.loads(tuned.stdout)["points"][0]["recipe"], "as_is")

    def test_a_module_that_hangs_when_it_is_frozen_runs_as_it_is(self):
        torch.jit.script(HangsWhenFrozen().eval()).save(at("hangs.pt"))
        status, shown = self.shown_on_a_terminal("trace", at("hangs.pt"), "--input", "f32[2,3,8,8]", "--op-library",
                                                 os.environ["OPERATOR_LIBRARY"], "--output", at("fragile.out.pt"))
        self.assertEqual(status, 0, shown)
        self.assertRegex(shown, r"tracing \S+ \(trying frozen\), 9 s")
        self.assertNotRegex(shown, r"tracing [^\r]* s[^\r]")  # its line is taken off before anything else is written
        report = self.info()
        self.assertEqual(report["recipe"], "as_is")
        self.assertRegex(report["measurements"]["frozen"]["rejected"],
                         r"^it did not end within \d+ s in a process of its own$")

    def test_a_module_that_crashes_the_process_on_its_example_is_said_to(self):
        torch.jit.script(CrashesAlways().eval()).save(at("crashes.pt"))
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"
        traced = call("trace", at("crashes.pt"), "--input", "f32[2,3]", "--op-library", os.environ["OPERATOR_LIBRARY"],
                      "--output", at("crashes.out.pt"), ASAN_OPTIONS=sanitizer)
        self.assertEqual((traced.returncode, traced.stdout), (1, ""))
        self.assertEqual(traced.stderr, "ganglion: error[forward_failed]: the module ended the process that compiled it by "
                         "signal 11, Segmentation fault: run it by itself, in Python, to see where\n")
        self.assertFalse(Path(at("crashes.out.pt")).exists())

    def start_one_that_hangs(self):
        """The process of a trace of which the module itself never ends, and the one that it watches."""
        torch.jit.script(HangsAlways().eval()).save(at("hangs.pt"))
        watching = subprocess.Popen([GANGLION, "trace", at("hangs.pt"), "--input", "f32[2,3]", "--op-library",
                                     os.environ["OPERATOR_LIBRARY"], "--output", at("hangs.out.pt")],
                                    env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(watching.kill)
        children = Path(f"/proc/{watching.pid}/task/{watching.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.01)
        return watching, int(found[0])

    def test_a_signal_that_ends_the_process_that_compiles_ends_the_one_that_watches_it(self):
        watching, watched = self.start_one_that_hangs()
        os.kill(watched, signal.SIGTERM)
        self.assertEqual(watching.communicate(timeout=60), ("", ""))
        self.assertEqual(watching.returncode, -signal.SIGTERM)

    def test_the_process_that_compiles_ends_with_the_one_that_watches_it(self):
        watching, watched = self.start_one_that_hangs()
        watching.kill()
        watching.communicate(timeout=60)  # until nobody has the pipes any more: it is ending, or has

        def runs():
            with contextlib.suppress(OSError):
                return Path(f"/proc/{watched}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            return False

        end = time.monotonic() + 60
        while runs() and time.monotonic() < end:
            time.sleep(0.01)
        self.assertFalse(runs())

    def test_how_the_process_that_compiles_ended_is_known_also_where_its_parent_ignores_that(self):
        for path in ("missing.pt", source("linear")):
            traced = subprocess.run([GANGLION, "trace", at(path), "--input", "f32[4,5]", "--output", at("out.pt")],
                                    env=environment(), capture_output=True, timeout=60,
                                    preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
            self.assertEqual(traced.returncode, 1, traced.stderr)

    def test_a_model_may_be_called_like_an_option(self):
        Path(at("-m.pt")).write_bytes(Path(source("linear")).read_bytes())
        for verb in (["trace", "--output", at("out.pt")], ["tune", "--batches", "1", "--seconds", "0.03"]):
            done = subprocess.run([GANGLION, *verb, "--input", "f32[4,3]", "--", "-m.pt"], cwd=folder, env=environment(),
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_the_process_that_compiles_is_told_is_not_for_others(self):
        trace = ["trace", source("linear"), "--input", "f32[4,3]", "--output", at("out.pt")]
        for hidden in (["--watched"], ["--discard"], ["--exclude", "frozen", "because"]):
            self.unreadable(*trace, *hidden, text="for the processes that trace starts")
            self.assertFalse(Path(at("out.pt")).exists())

    def test_deviations_are_bounded_and_reported(self):
        write_source("classes.pt", nn.Linear(8, 5))
        trace = ["trace", at("classes.pt"), "--input", "f32[4,8]", "--auto-cast", "bf16", "--output", at("classes.out.pt")]
        self.refused("unsupported_model", *trace, "--max-deviation", "1e-6", text=["relative deviation", "at most 1e-06"])
        self.assertFalse(Path(at("classes.out.pt")).exists())
        torch.save(torch.randn(40, 8), at("rows.pt"))
        traced = call(*trace, "--calibration", at("rows.pt"))
        self.assertEqual(traced.returncode, 0, traced.stderr)
        self.assertRegex(traced.stdout, r"relative L2 \S+, mean \S+, top-1 [\d.]+ %")
        torch.save(torch.randn(3, 8), at("rows.pt"))
        self.refused("invalid_argument", *trace, "--calibration", at("rows.pt"), text="the calibration has 3 rows")
        self.refused("invalid_argument", *trace, "--max-deviation", "0", text="max_deviation is 0")
        self.refused("invalid_argument", *trace, "--threads", "0", text="--threads is 0")

    def test_a_program_for_other_threads_is_told_of_and_tuned_again(self):
        write_source("threads.pt", nn.Linear(8, 5))
        traced = call("trace", at("threads.pt"), "--input", "f32[4,8]", "--threads", "2", "--output", at("threads.out.pt"))
        self.assertEqual(traced.returncode, 0, traced.stderr)
        torch.save(torch.ones(16, 8), at("threads-rows.pt"))
        run = ["run", at("threads.out.pt"), "--input", at("threads-rows.pt"), "--output", at("threads-answer.pt")]
        ran = call(*run)
        self.assertIn("tuned for cores of 2 intra-op thread(s), and those of this engine have 1", ran.stderr)
        self.assertEqual((ran.returncode, call(*run, "--retune").stderr), (0, ""))
        again = call("info", at("threads.out.pt"), "--retune", "--json")
        self.assertEqual((again.stderr, json.loads(again.stdout)["tuned"]["threads"]), ("", 1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
