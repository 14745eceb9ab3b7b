"""`ganglion bench` as its users meet it: every scenario and flag on small models. No figure is judged here, only that each
is there and can be one.

    bench_test.py path/to/ganglion [unittest arguments]
"""

import json
import math
import os
import pty
import re
import subprocess
import unittest
import xml.etree.ElementTree as xml

from command_support import GANGLION, Command, at, environment, folder, model


class Bench(Command):
    def bench(self, name, *arguments, seconds="0.1", warnings=0):
        result = self.accepted("bench", model(name), "--seconds", seconds, *arguments, "--json", warnings=warnings)
        report = json.loads(result.stdout)
        self.assertEqual(result.stdout.count("\n"), 1)
        self.assert_sane(report)
        return report

    def assert_sane(self, report):
        requests = report["requests"]
        self.assertGreater(requests["sent"], 0)
        self.assertEqual(requests["sent"], requests["answered"] + requests["refused"] + requests["abandoned"])
        self.assertEqual(report["rows_sent"], requests["sent"] * report["batch"])
        self.assertEqual(report["rows_answered"], requests["answered"] * report["batch"])
        self.assertGreater(report["rows_per_second"], 0)
        latency = report["latency_ms"]
        self.assertEqual(latency["count"], requests["answered"])
        self.assertGreater(latency["p50"], 0)
        for less, more in (("p50", "p90"), ("p90", "p95"), ("p95", "p99"), ("p99", "max"), ("mean", "max")):
            self.assertLessEqual(latency[less], latency[more])

    # -- scenarios -----------------------------------------------------------------------------------------------------

    def test_offline_is_the_default_with_two_compiled_batches_a_core_and_says_on_what_it_ran(self):
        report = self.bench("linear", seconds="1")
        self.assertEqual((report["scenario"], report["cores"], report["device_ids"]), ("offline", 2, [0, 1]))
        self.assertEqual((report["compiled_batch"], report["batch"]), (4, 16))
        self.assertEqual(report["rows_answered"], report["rows_sent"])
        self.assertEqual(report["executions"], 4 * report["requests"]["answered"])
        self.assertEqual((report["padding_share"], report["warnings"]), (0, []))
        self.assertEqual((report["model"], report["recipe"]), (model("linear"), "frozen"))
        self.assertGreaterEqual(report["seconds"], 1)
        self.assertLess(report["seconds"], 10)
        machine = report["machine"]
        self.assertTrue(machine["cpu"])
        self.assertGreaterEqual(machine["cpus"], 1)
        self.assertRegex(machine["libtorch"], r"^\d+\.\d+")
        self.assertTrue(any("blas" in library for library in machine["blas"]), machine["blas"])

    def test_requests_of_any_size_are_cut_and_padded(self):
        report = self.bench("linear", "--batch", "22")
        self.assertEqual(report["batch"], 22)
        # Six of up to four rows each, or fewer where the rest of one request goes with the next.
        answered = report["requests"]["answered"]
        self.assertLessEqual(report["executions"], 6 * answered)
        self.assertGreaterEqual(report["executions"], 22 * answered / 4)
        self.assertLessEqual(report["padding_share"], 2 / 24 + 1e-9)

    def test_single_stream_sends_one_row_at_a_time(self):
        report = self.bench("linear", "--scenario", "single-stream", "--target-p99", "5s", warnings=1)
        self.assertEqual((report["scenario"], report["batch"]), ("single-stream", 1))
        self.assertEqual((report["target_p99_ms"], report["target_held"]), (5000, True))
        self.assertAlmostEqual(report["padding_share"], 3 / 4)
        # One at a time: the latencies follow each other.
        total = report["latency_ms"]["mean"] * report["requests"]["answered"] / 1000
        self.assertLessEqual(total, report["seconds"] * 1.001)
        self.assertGreater(total, report["seconds"] * 0.5)

    def test_server_sends_at_the_rate_that_was_asked_for(self):
        report = self.bench("linear", "--scenario", "server", "--qps", "200", "--target-p99", "5s", seconds="1", warnings=1)
        self.assertEqual((report["scenario"], report["qps"], report["batch"]), ("server", 200, 1))
        # Four standard deviations of a Poisson process.
        self.assertLess(abs(report["requests"]["sent"] - 200), 4 * math.sqrt(200))
        self.assertEqual(report["requests"]["answered"], report["requests"]["sent"])
        self.assertTrue(report["target_held"])

    def test_server_says_that_a_target_was_missed(self):
        report = self.bench("linear", "--scenario", "server", "--qps", "50", "--target-p99", "1us", warnings=1)
        self.assertIs(report["target_held"], False)
        self.assertAlmostEqual(report["target_p99_ms"], 0.001)

    def test_the_cores_are_those_of_device_ids(self):
        report = self.bench("linear", "--device-ids", "nc:1")
        self.assertEqual((report["cores"], report["device_ids"], report["batch"]), (1, [1], 8))

    def test_a_model_without_dynamic_batching_gets_its_compiled_batch_on_each_core(self):
        self.assertEqual(self.bench("mixes", "--scenario", "single-stream", warnings=1)["batch"], 8)

    def test_text_for_people_has_the_figures_and_no_json(self):
        result = self.accepted("bench", model("linear"), "--seconds", "0.1")
        self.assertRegex(result.stdout, r"(?m)^offline +\d+\.\d+ rows/s: \d+ requests of 16 rows in ")
        self.assertNotIn("{", result.stdout)

    # -- extra figures -------------------------------------------------------------------------------------------------

    def test_scaling_compares_one_core_with_all(self):
        report = self.bench("linear", "--scaling", "--batch", "5")
        scaling = report["scaling"]
        self.assertEqual(scaling["cores"], 2)
        self.assertGreater(scaling["one_core_rows_per_second"], 0)
        self.assertGreater(scaling["all_cores_rows_per_second"], 0)
        self.assertGreater(scaling["scaling"], 0)
        self.assertLess(scaling["largest_difference"], 1e-5)

    def test_scaling_compares_every_kind_of_answer_with_the_module_alone(self):
        for name, warnings in (("pair", 0), ("mixes", 1), ("total", 2)):
            with self.subTest(name):
                self.assertLess(self.bench(name, "--scaling", warnings=warnings)["scaling"]["largest_difference"], 1e-5)

    def test_baseline_compares_with_bare_loops_a_bare_ring_and_memory(self):
        baseline = self.bench("linear", "--baseline", seconds="0.5")["baseline"]
        throughput, memory, idle = baseline["throughput"], baseline["memory"], baseline["idle"]
        for name in ("engine_rows_per_second", "bare_loops_rows_per_second", "intra_op_rows_per_second",
                     "ratio_to_bare_loops", "ratio_to_intra_op"):
            self.assertGreater(throughput[name], 0)
        self.assertEqual(throughput["replicas"], 2)
        self.assertEqual(throughput["weight_storages_one_replica"], 2)  # weight and bias
        self.assertEqual(throughput["weight_storages_all_replicas"], throughput["weight_storages_one_replica"])
        self.assertEqual(len(memory["resident_mib"]), 2)
        self.assertGreater(min(memory["resident_mib"]), 10)
        self.assertAlmostEqual(memory["growth_per_core_mib"], memory["resident_mib"][1] - memory["resident_mib"][0])
        self.assertGreater(memory["activations_mib"], 0)
        for name in ("engine_p50_us", "ring_p50_us", "ratio"):
            self.assertGreater(idle[name], 0)

    def test_timeline_is_a_picture_with_a_lane_a_core(self):
        report = self.bench("linear", "--batch", "22", "--timeline", at("run.svg"))
        self.assertEqual(report["timeline"], at("run.svg"))
        picture = xml.parse(at("run.svg")).getroot()
        self.assertTrue(picture.tag.endswith("svg"))
        texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
        for wanted in ("linear.pt on 2 cores", "nc:0", "nc:1", "milliseconds", "gather"):
            self.assertIn(wanted, texts)
        groups = list(picture.iter("{http://www.w3.org/2000/svg}g"))
        self.assertGreater(len(groups), 20)
        self.assertLess(len(groups), 220)

    def test_trace_out_is_a_list_of_trace_events_and_refused_where_it_cannot_be(self):
        report = self.bench("linear", "--batch", "22", "--trace-out", at("run.json"))
        events = json.loads((folder / "run.json").read_text())
        executions = [e for e in events if e.get("cat") == "execution"]
        self.assertGreaterEqual(len(executions), report["executions"])
        self.assertEqual({e["tid"] for e in executions}, {1, 2})
        self.assertEqual({e["ph"] for e in events}, set("MXCsft"))
        self.refused("io_failed", "bench", model("linear"), "--trace-out", at("missing/run.json"), text="missing")
        self.refused("invalid_argument", "bench", model("linear"), "--trace-out", model("linear"), text="linear.pt")

    def test_the_picture_is_drawn_from_the_events_of_the_timeline(self):
        self.bench("linear", "--batch", "22", "--timeline", at("both.svg"), "--trace-out", at("both.json"))
        events = json.loads((folder / "both.json").read_text())
        told = []
        for execution, compute, gather in zip(events, events[1:], events[2:]):
            if execution.get("cat") == "execution":
                self.assertEqual((compute["name"], gather["name"]), ("compute", "gather"))
                args = execution["args"]
                told.append((args["rows"], args["padding_rows"], args["waited_us"], compute["dur"], gather["dur"]))
        drawn = re.findall(r"<title>(\d+) rows(?: and (\d+) of padding)?, waited (\S+) ms, computed (\S+) ms, "
                           r"gathered (\S+) ms</title>", (folder / "both.svg").read_text())
        self.assertGreater(len(drawn), 20)
        for rows, padding, *times in drawn:
            bar = (int(rows), int(padding or 0), *(1000 * float(time) for time in times))
            self.assertTrue(any(bar[:2] == one[:2] and all(abs(a - b) < 1 for a, b in zip(bar[2:], one[2:]))
                                for one in told), bar)

    def test_watch_shows_each_core_and_model_on_a_terminal(self):
        terminal, stderr = pty.openpty()
        process = subprocess.Popen([GANGLION, "bench", model("linear"), "--seconds", "30", "--watch"],
                                   env=environment(), stderr=stderr, stdout=subprocess.DEVNULL)
        os.close(stderr)
        try:
            shown = b""
            while not re.search(rb"nc:0 +up.* % busy.*\n.*nc:1 +up.*\n.*requests/s well.* p99 ", shown):
                shown += os.read(terminal, 1000)  # fails where the command ends before
        finally:
            process.kill()
            process.wait()
            os.close(terminal)

    def test_a_timeline_from_before_is_replaced_whole_or_kept(self):
        old = folder / "old.svg"
        old.write_text("old")
        self.refused("model_load_failed", "bench", at("missing.pt"), "--timeline", str(old))
        self.assertEqual(old.read_text(), "old")
        before = old.stat().st_ino
        self.bench("linear", "--timeline", str(old))
        self.assertTrue(xml.parse(old).getroot().tag.endswith("svg"))
        self.assertNotEqual(old.stat().st_ino, before)  # renamed to, not written into
        self.assertEqual([path.name for path in folder.glob(".*")], [])

    # -- refusals ------------------------------------------------------------------------------------------------------

    def test_a_command_line_that_makes_no_sense_is_unreadable(self):
        path = model("linear")
        self.unreadable("bench", path, "--scenario", "server", text="--qps")
        self.unreadable("bench", path, "--scenario", "sever", text=("--scenario", "sever"))
        self.unreadable("bench", path, "--scenario", "server", "--qps", "many", text="many")
        self.unreadable("bench", path, "--scenario", "single-stream", "--target-p99", "15", text=("15ms", "'15'"))
        self.unreadable("bench", path, "--seconds", "long", text="long")
        self.unreadable("bench", path, "--batch", "some", text="some")

    def test_values_that_cannot_be_used_are_refused(self):
        path = model("linear")
        self.refused("invalid_argument", "bench", path, "--seconds", "0", text="--seconds is 0")
        self.refused("invalid_argument", "bench", path, "--batch", "-3", text="--batch is -3")
        for seconds in ("1e18", "1e300", "86401"):
            self.refused("invalid_argument", "bench", path, "--seconds", seconds, text=("--seconds", "86400"))
        server = ["bench", path, "--scenario", "server", "--qps"]
        for qps in ("1e18", "1e300", "100001"):
            self.refused("invalid_argument", *server, qps, text=("--qps", "1e+06"))
        self.refused("invalid_argument", *server, "10", "--target-p99", "1e300s", text=("--target-p99", "86400"))
        self.refused("invalid_argument", "bench", path, "--scenario", "server", "--qps", "0", text="--qps is 0")
        self.refused("invalid_argument", "bench", path, "--batch", "99999999999999", text=("GiB", "--batch"))
        self.refused("invalid_argument", "bench", path, "--qps", "10", text=("--qps", "offline"))
        self.refused("invalid_argument", "bench", path, "--target-p99", "15ms", text="offline")
        self.refused("invalid_device_id", "bench", path, "--device-ids", "nc:2", text="nc:2")
        self.refused("io_failed", "bench", path, "--timeline", at("missing/run.svg"), text="missing")
        for timeline in self.UNWRITABLE[:2] + self.UNWRITABLE[3:]:
            self.refused("io_failed", "bench", at("missing.pt"), "--timeline", timeline, text=timeline)
        self.refused("invalid_argument", "bench", path, "--timeline", path, text="linear.pt")
        self.refused("model_load_failed", "bench", at("missing.pt"), text="missing.pt")
        self.refused("batch_size_mismatch", "bench", model("mixes"), "--batch", "6", text="6")


if __name__ == "__main__":
    unittest.main()
