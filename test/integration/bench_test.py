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
from pathlib import Path

import torch

from command_support import GANGLION, Command, at, environment, folder, model, write_source


class Benchmark(Command):
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
        # A rate that cannot keep its target is given up, on a busy machine before the first answer.
        self.assertTrue(requests["answered"] > 0 or report.get("target_held") is False, report)
        self.assertEqual(report["rows_per_second"] > 0, requests["answered"] > 0)
        latency = report["latency_ms"]
        self.assertEqual(latency["count"], requests["answered"])
        self.assertEqual(latency["p50"] > 0, requests["answered"] > 0)
        for less, more in (("p50", "p90"), ("p90", "p95"), ("p95", "p99"), ("p99", "p99.9"), ("p99.9", "max"),
                           ("mean", "max")):
            self.assertLessEqual(latency[less], latency[more])
        windows = report["windows"]
        self.assertEqual(len(windows["figures"]), windows["count"])
        self.assertLessEqual(windows["count"], windows["most"])
        self.assertEqual(windows["counted"], min(3, windows["count"]))
        last = windows["figures"][-3:]
        self.assertEqual(windows["agreed"], len(last) == 3 and 0 < max(last) <= 1.1 * min(last))


class Bench(Benchmark):
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
        self.assertEqual(machine["kernel"], f"{os.uname().sysname} {os.uname().release}")
        self.assertEqual(machine["allowed_cpus"], sorted(os.sched_getaffinity(0)))
        flags = set(re.search(r"(?m)^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text())[1].split())
        self.assertLessEqual(set(machine["isa"]), flags)
        for flag in {"avx2", "avx512_bf16", "amx_bf16", "asimd"} & flags:
            self.assertIn(flag, machine["isa"])
        self.assertEqual(machine["malloc"]["mmap_threshold_bytes"], 1 << 30)
        self.assertRegex(machine["malloc"]["allocator"], r"^glibc \d")
        self.assertRegex(machine["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(report["figure"], {"name": "rows_per_second", "value": report["rows_per_second"]})

    def test_figures_are_measured_in_three_windows_or_more_of_a_third_of_the_seconds(self):
        report = self.bench("linear", seconds="0.9")
        windows = report["windows"]
        self.assertAlmostEqual(windows["seconds_each"], 0.3)
        self.assertGreaterEqual(windows["count"], 3)
        self.assertGreaterEqual(report["seconds"], 0.9)
        self.assertEqual(report["requests"]["sent"], sum(windows["requests"][-3:]))  # those of the last three alone
        text = self.accepted("bench", model("linear"), "--seconds", "0.1").stdout
        self.assertRegex(text, r"(?m)^windows +(the last 3 of \d agree|no 3 in a row of \d agree) within 10 %")

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
        self.assertEqual(report["figure"], {"name": "p90_ms", "value": report["latency_ms"]["p90"]})

    def test_server_sends_at_the_rate_that_was_asked_for(self):
        for _ in range(3):  # a machine that stops for a second leaves some unanswered
            report = self.bench("linear", "--scenario", "server", "--qps", "200", "--target-p99", "5s", seconds="1",
                                warnings=1)
            if report["target_held"]:
                break
        self.assertEqual((report["scenario"], report["qps"], report["batch"]), ("server", 200, 1))
        # Four standard deviations of a Poisson process.
        self.assertLess(abs(report["requests"]["sent"] - 200), 4 * math.sqrt(200))
        self.assertEqual(report["requests"]["answered"], report["requests"]["sent"])
        self.assertTrue(report["target_held"])

    def test_a_seed_gives_the_same_arrivals_again_and_another_seed_gives_others(self):
        def sent(seed):
            report = self.bench("linear", "--scenario", "server", "--qps", "300", "--seed", seed, warnings=1)
            self.assertEqual(report["seed"], int(seed))
            return report["windows"]["requests"][:3]

        first = {seed: sent(seed) for seed in ("1", "2", "3")}
        self.assertEqual(first, {seed: sent(seed) for seed in first})
        self.assertEqual(len({tuple(counts) for counts in first.values()}), 3)
        # Each window has arrivals of its own.
        self.assertGreater(max(len(set(counts)) for counts in first.values()), 1)

    def test_server_says_that_no_rate_keeps_the_target(self):
        report = self.bench("linear", "--scenario", "server", "--target-p99", "1us", seconds="1", warnings=1)
        self.assertEqual((report["search"]["found"], report["search"]["qps"], report["target_held"]), (False, None, False))
        self.assertEqual(report["figure"], {"name": "requests_per_second", "value": 0})
        self.assertFalse(any(rate["held"] for rate in report["rates"]))
        text = self.accepted("bench", model("linear"), "--scenario", "server", "--target-p99", "1us", "--seconds", "0.3",
                             warnings=1).stdout
        self.assertRegex(text, r"(?m)^highest rate +none keeps a p99 of 0.001 ms, \d+ measurements; ")

    def test_the_picture_of_a_given_rate_has_points_up_to_it(self):
        report = self.bench("linear", "--scenario", "server", "--qps", "100", "--picture", at("rate.svg"), warnings=1)
        self.assertEqual(report["picture"], at("rate.svg"))
        self.assertNotIn("search", report)
        self.assertEqual((report["rates"][0]["qps"], report["rates"][0]["for"]), (100, "given"))
        self.assertEqual(sorted(rate["qps"] for rate in report["rates"])[0], 10)
        self.assertEqual(len(list(xml.parse(at("rate.svg")).getroot().iter("{http://www.w3.org/2000/svg}circle"))),
                         2 * len(report["rates"]))
        # What is drawn besides is not counted.
        self.assertEqual(report["requests"]["sent"], report["rates"][0]["requests"])

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
        self.assertGreater(throughput["engine_rows_per_second"], 0)
        for peer in ("one_loop", "bare_loops", "intra_op", "intra_op_module", "intra_op_frozen", "thread_pool"):
            self.assertGreater(throughput[f"{peer}_rows_per_second"], 0)
            self.assertGreater(throughput[f"ratio_to_{peer}"], 0)
        self.assertEqual(throughput["thread_pool_workers"], 4)
        self.assertLess(throughput["thread_pool_largest_difference"], 1e-5)
        self.assertEqual(throughput["replicas"], 2)
        self.assertEqual(throughput["weight_storages_one_replica"], 2)  # weight and bias
        self.assertEqual(throughput["weight_storages_all_replicas"], throughput["weight_storages_one_replica"])
        self.assertEqual(len(memory["resident_mib"]), 2)
        self.assertGreater(min(memory["resident_mib"]), 10)
        self.assertAlmostEqual(memory["growth_per_core_mib"], memory["resident_mib"][1] - memory["resident_mib"][0])
        self.assertGreater(memory["activations_mib"], 0)
        for name in ("engine_p50_us", "ring_p50_us", "ratio"):
            self.assertGreater(idle[name], 0)

    def test_activations_are_those_of_the_program_that_was_chosen_wherever_they_lie(self):
        wide = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(32, 1, 3))
        write_source("wide.pt", wide)
        self.accepted("trace", at("wide.pt"), "--input", "f32[1,3,256,256]", "--output", at("wide.traced.pt"))
        text = self.accepted("bench", at("wide.traced.pt"), "--baseline", "--seconds", "0.05", "--json").stdout
        activations = json.loads(text)["baseline"]["memory"]["activations_mib"]
        self.assertGreater(activations, 32 * 256 * 256 * 4 / 2**20)  # what lies between the convolutions
        self.assertLess(activations, 64)

    def test_the_baseline_is_for_every_kind_of_answer(self):
        # 5 rows in chunks of 2 on 2 cores: pieces that are padded, and one chunk more than cores.
        for name, arguments, warnings in (("linear", ["--batch", "5"], 0), ("pair", ["--batch", "5"], 0),
                                          ("mixes", [], 1), ("total", [], 2)):
            with self.subTest(name):
                baseline = self.bench(name, "--baseline", *arguments, seconds="0.05", warnings=warnings)["baseline"]
                self.assertLess(baseline["throughput"]["thread_pool_largest_difference"], 1e-5)

    def test_the_baseline_is_told_to_people_too(self):
        text = self.accepted("bench", model("linear"), "--baseline", "--seconds", "0.05").stdout
        for wanted in ("bare loop on a pinned thread", "2 bare loops at once", r"one forward at a time on \d+ threads?", "plain module",
                       "frozen module", "a pool of 4 threads as torch.neuron documents it"):
            self.assertRegex(text, rf"(?m)^ +\d+\.\d+ of .*{wanted} \(\d+\.\d+ rows/s\)$")

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
        self.unreadable("bench", path, "--scenario", "server", text=("--qps", "--target-p99"))
        self.unreadable("bench", path, "--seed", "one", text="one")
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
        self.refused("invalid_argument", "bench", path, "--scenario", "server", "--target-p99", "0ms", text="--target-p99 is 0")
        self.refused("invalid_argument", "bench", path, "--batch", "99999999999999", text=("GiB", "--batch"))
        self.refused("invalid_argument", "bench", path, "--qps", "10", text=("--qps", "offline"))
        self.refused("invalid_argument", "bench", path, "--target-p99", "15ms", text="offline")
        self.refused("invalid_argument", "bench", path, "--seed", "-1", text="--seed is -1")
        self.refused("invalid_argument", "bench", path, "--picture", at("p.svg"), text=("--picture", "server", "offline"))
        picture = ["bench", path, "--scenario", "server", "--qps", "10", "--picture"]
        self.refused("io_failed", *picture, at("missing/p.svg"), text="missing")
        self.refused("invalid_argument", *picture, path, text="linear.pt")
        self.refused("invalid_device_id", "bench", path, "--device-ids", "nc:2", text="nc:2")
        self.refused("io_failed", "bench", path, "--timeline", at("missing/run.svg"), text="missing")
        for timeline in self.UNWRITABLE[:2] + self.UNWRITABLE[3:]:
            self.refused("io_failed", "bench", at("missing.pt"), "--timeline", timeline, text=timeline)
        self.refused("invalid_argument", "bench", path, "--timeline", path, text="linear.pt")
        (folder / "library.so").write_bytes(b"a library")
        for output in (["bench", path, "--timeline"], ["bench", path, "--trace-out"], picture):
            self.refused("invalid_argument", *output, at("library.so"), "--op-library", at("library.so"),
                         text=("library.so", "which is read"))
        self.assertEqual((folder / "library.so").read_bytes(), b"a library")
        self.refused("model_load_failed", "bench", at("missing.pt"), text="missing.pt")
        self.refused("batch_size_mismatch", "bench", model("mixes"), "--batch", "6", text="6")


class Search(Benchmark):
    def test_server_without_a_rate_looks_for_the_highest_that_keeps_the_target(self):
        for _ in range(3):  # some rate keeps its target only where the cores get their CPUs
            report = self.bench("linear", "--scenario", "server", "--target-p99", "40ms", "--picture", at("rates.svg"),
                                seconds="0.1", warnings=1)
            if report["search"]["found"]:
                break
        search, rates = report["search"], report["rates"]
        self.assertTrue(search["found"], report)
        self.assertEqual(report["figure"], {"name": "requests_per_second", "value": report["qps"]})
        self.assertEqual((search["qps"], report["target_held"]), (report["qps"], True))
        self.assertLessEqual(report["latency_ms"]["p99"], 40)
        confirmed = [rate for rate in rates if rate["for"] == "confirmation"][-1]
        self.assertEqual((confirmed["qps"], confirmed["held"]), (report["qps"], True))
        self.assertEqual(confirmed["requests"], report["requests"]["sent"])
        failed = [rate["qps"] for rate in rates if rate["for"] == "confirmation" and not rate["held"]]
        self.assertTrue(all(report["qps"] < rate for rate in failed), rates)
        self.assertGreater(sum(rate["for"] == "search" for rate in rates), 1)
        # The picture has points below the rate that was found as well.
        self.assertGreater(sum(rate["for"] == "picture" for rate in rates), 3)
        picture = xml.parse(at("rates.svg")).getroot()
        texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
        for wanted in ("linear.pt on 2 cores", "p50", "p99", "target: p99 40 ms", f"{report['qps']:.4g} requests/s"):
            self.assertIn(wanted, texts)
        circles = list(picture.iter("{http://www.w3.org/2000/svg}circle"))
        self.assertEqual(len(circles), 2 * len({rate["qps"] for rate in rates}))


if __name__ == "__main__":
    unittest.main()
