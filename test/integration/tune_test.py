"""`ganglion tune` as its users meet it, on small models. No figure is judged here, only that each is there, belongs to what
it says, and leads to the recommendation that follows from it.

    tune_test.py path/to/ganglion [unittest arguments]
"""

import json
import os
import re
import unittest
import xml.etree.ElementTree as xml

from command_support import Command, at, call, folder, model, source, write_source

import torch
from torch import nn

CPUS = len(os.sched_getaffinity(0))


class OnlyTwoRows(nn.Module):
    def forward(self, x):
        return x.reshape(2, 3)


class Coarse(nn.Module):
    def forward(self, x):
        return (x + 4) - 4


class Tune(Command):
    def tune(self, path, *arguments, warnings=0):
        result = self.accepted("tune", path, "--seconds", "0.03", *arguments, "--json", warnings=warnings)
        self.assertEqual(result.stdout.count("\n"), 1)
        report = json.loads(result.stdout)
        self.assert_follows(report)
        return report

    def assert_follows(self, report):
        """The recommendation is what the points say."""
        points = report["points"]
        for point in points:
            self.assertGreater(point["rows_per_second"], 0)
            self.assertGreater(point["latency_ms"]["p50"], 0)
            self.assertLessEqual(point["latency_ms"]["p50"], point["latency_ms"]["p99"])
            self.assertLessEqual(point["cores"] * point["threads_per_core"], max(CPUS, point["threads_per_core"]))
        most = max(point["rows_per_second"] for point in points)
        self.assertEqual(report["fastest"]["rows_per_second"], most)
        near = [point for point in points if point["rows_per_second"] >= 0.95 * most]
        low = report["low_latency"]
        self.assertIn(low, near)
        self.assertEqual(low["batch"], min(point["batch"] for point in near if point["batch"] <= report["fastest"]["batch"]))
        self.assertTrue(report["reason"].startswith(f"a batch of {report['fastest']['batch']} on "), report["reason"])

    def batches(self, report):
        return [(point["threads_per_core"], point["batch"]) for point in report["points"]]

    # -- what is measured ----------------------------------------------------------------------------------------------

    def test_each_batch_and_number_of_threads_is_a_point(self):
        report = self.tune(source("linear"), "--input", "f32[7,3]", "--batches", "4,1,4", "--threads-per-core", "1")
        self.assertEqual(self.batches(report), [(1, 1), (1, 4)])
        for point in report["points"]:
            self.assertEqual(point["cores"], min(2, CPUS))
            self.assertRegex(point["recipe"], r"^\w+$")
        self.assertEqual(report["model"], source("linear"))
        self.assertTrue(report["machine"]["cpu"])

    @unittest.skipIf(CPUS < 2, "one CPU has no second thread")
    def test_more_threads_a_core_are_on_fewer_cores(self):
        report = self.tune(source("linear"), "--input", "f32[1,3]", "--batches", "2", "--threads-per-core", "1,2")
        self.assertEqual(self.batches(report), [(1, 2), (2, 2)])
        self.assertEqual([point["cores"] for point in report["points"]], [2, min(2, CPUS // 2)])
        by_default = self.tune(source("linear"), "--input", "f32[1,3]", "--batches", "2")
        self.assertEqual(self.batches(by_default), [(1, 2), (2, 2)])

    def test_the_batches_are_1_to_16_by_default(self):
        report = self.tune(source("linear"), "--input", "f32[1,3]", "--threads-per-core", "1")
        self.assertEqual([point["batch"] for point in report["points"]], [1, 2, 4, 8, 16])

    def test_a_compiled_model_says_itself_what_it_takes(self):
        report = self.tune(model("pair"), "--batches", "3", "--threads-per-core", "1")
        self.assertEqual(self.batches(report), [(1, 3)])

    def test_models_whose_rows_depend_on_each_other_get_whole_batches(self):
        report = self.tune(source("mixes"), "--input", "f32[4,3]", "--batches", "2", "--threads-per-core", "1", warnings=1)
        self.assertEqual(self.batches(report), [(1, 2)])

    def test_auto_cast_is_that_of_the_option_or_of_the_compiled_model(self):
        def recipe(path, *arguments):
            report = self.tune(path, *arguments, "--batches", "2", "--threads-per-core", "1")
            return report["points"][0]["recipe"]

        self.assertIn("bf16", recipe(source("linear"), "--input", "f32[1,3]", "--auto-cast", "bf16"))
        path = at("bf16.pt")
        traced = call("trace", source("linear"), "--input", "f32[4,3]", "--auto-cast", "bf16", "--output", path)
        self.assertEqual(traced.returncode, 0, traced.stderr)
        self.assertIn("bf16", recipe(path))
        self.assertNotIn("bf16", recipe(path, "--auto-cast", "none"))

    def test_the_bound_of_bf16_is_that_of_the_option_or_of_the_compiled_model(self):
        path, rows = at("coarse.pt"), at("coarse-rows.pt")
        write_source("coarse.source.pt", Coarse())
        traced = call("trace", at("coarse.source.pt"), "--input", "f32[4,3]", "--auto-cast", "bf16", "--max-deviation", "0.9",
                      "--output", path)
        self.assertEqual(traced.returncode, 0, traced.stderr)
        tune = ["--batches", "2", "--threads-per-core", "1"]
        self.assertIn("bf16", self.tune(path, *tune)["points"][0]["recipe"])
        self.refused("unsupported_model", "tune", path, *tune, "--max-deviation", "1e-6", text="at most 1e-06 is allowed")
        torch.save(torch.rand(2, 3), rows)
        self.tune(path, *tune, "--calibration", rows)
        torch.save(torch.rand(1, 3), rows)
        self.refused("invalid_argument", "tune", path, *tune, "--calibration", rows, text="the calibration has 1 row")

    # -- how it is told ------------------------------------------------------------------------------------------------

    def test_the_table_has_a_line_for_each_point_and_the_recommendation(self):
        text = self.accepted("tune", source("linear"), "--input", "f32[1,3]", "--batches", "1,2", "--threads-per-core", "1",
                             "--seconds", "0.03").stdout
        self.assertRegex(text, r"(?m)^ +batch +cores +threads +program +rows/s +p50, ms +p99, ms$")
        self.assertEqual(re.findall(r"(?m)^ +(\d+) +\d+ +1  \w+ +\d+\.\d\d +\d+\.\d{3} +\d+\.\d{3}(?: \*)?$", text), ["1", "2"])
        self.assertRegex(text, r"(?m)^recommended +a batch of \d on .* gives the most: .* rows/s, ")

    def test_the_picture_has_throughput_and_latency_of_each_point(self):
        report = self.tune(source("linear"), "--input", "f32[1,3]", "--batches", "1,2,4", "--threads-per-core", "1",
                           "--picture", at("tune.svg"))
        self.assertEqual(report["picture"], at("tune.svg"))
        picture = xml.parse(at("tune.svg")).getroot()
        self.assertEqual(len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))), 6)
        texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
        for wanted in ("linear.source.pt", "rows a batch", "1", "2", "4"):
            self.assertIn(wanted, texts)
        self.assertIn(report["reason"], " ".join(texts))

    # -- refusals ------------------------------------------------------------------------------------------------------

    def test_a_command_line_that_makes_no_sense_is_unreadable(self):
        path = source("linear")
        self.unreadable("tune", text="MODEL")
        self.unreadable("tune", path, "--input", "f32[1,3", text="'f32[1,3'")
        for list_text in ("1,x", "1,,2", ""):
            self.unreadable("tune", path, "--input", "f32[1,3]", "--batches", list_text, text="--batches")
        self.unreadable("tune", path, "--input", "f32[1,3]", "--threads-per-core", "one", text="--threads-per-core")
        self.unreadable("tune", path, "--input", "f32[1,3]", "--auto-cast", "fp8", text="fp8")
        self.unreadable("tune", path, "--input", "f32[1,3]", "--seconds", "long", text="long")

    def test_values_that_cannot_be_used_are_refused_and_leave_nothing(self):
        path = source("linear")
        given = ["tune", path, "--input", "f32[1,3]"]
        self.refused("invalid_argument", *given, "--seconds", "0", text="--seconds is 0")
        for number in ("0", "-1"):
            self.refused("invalid_argument", *given, "--batches", number, text=f"--batches has {number}")
            self.refused("invalid_argument", *given, "--threads-per-core", number, text=f"--threads-per-core has {number}")
        self.refused("invalid_argument", *given, "--threads-per-core", str(CPUS + 1), text=(str(CPUS + 1), "CPU"))
        self.refused("invalid_argument", *given, "--batches", "99999999999999", text="GiB")
        self.refused("model_load_failed", "tune", path, text=("never traced", "--input"))
        self.refused("model_load_failed", "tune", at("missing.pt"), text="missing.pt")
        self.refused("io_failed", *given, "--picture", at("missing/p.svg"), text="missing")
        self.refused("invalid_argument", *given, "--picture", path, text="linear.source.pt")
        (folder / "library.so").write_bytes(b"a library")
        self.refused("invalid_argument", *given, "--picture", at("library.so"), "--op-library", at("library.so"),
                     text=("library.so", "which is read"))
        self.assertEqual((folder / "library.so").read_bytes(), b"a library")
        self.refused("shape_mismatch", *given, "--input", "f32[1,3]", "--batches", "2", text="for a batch of 2: ")
        write_source("two.pt", OnlyTwoRows())
        self.refused("forward_failed", "tune", at("two.pt"), "--input", "f32[2,3]", "--batches", "2,5", "--seconds", "0.01",
                     "--threads-per-core", "1", "--picture", at("two.svg"), text="for a batch of 5: ")
        self.assertFalse((folder / "two.svg").exists())


if __name__ == "__main__":
    unittest.main()
