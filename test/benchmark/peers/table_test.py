#!/usr/bin/python3
"""Whether the peers' table and the comparison of allocators work, without the network: table_test.py BUILD. Their figures
are not looked at. What is said of the bars is looked at with figures that are made up."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.dom.minidom

import report

HERE = pathlib.Path(__file__).resolve().parent

RATES = {
    "ganglion fp32": [30, 29, 20], "ganglion bf16": [60, 30, 58], "bare loops": [30, 30, 40],
    "ganglion fp32, one caller": [15, 24, 30],
    "libtorch traced": [15, 10, 10], "libtorch frozen": [20, 20, 20],
    "pool traced, 1": [10, 10, 10], "pool traced, 2": [20, 20, 16], "pool frozen, 1": [40, 40, 40],
    "pool frozen, 2": [10, 10, 10], "onnx 2": [25, 50, 25], "onnx 1": [10, 10, 10],
}


def check_bars():
    """Each is the median of the rounds' ratios, against the right one of the peers."""
    contenders = {name: {"choice": "batch 1", "rounds": rates, "rows_per_second": sorted(rates)[1], "relative_l2": 0.13,
                         "top1_agreement": 0.875} for name, rates in RATES.items()}
    found = {"models": {name: {"rows": 16, "contenders": contenders} for name in report.MODELS},
             "one_large_request": {"ratio_to_bare_loops": 0.7}, "digits": {"top1_agreement": 0.999}}
    bars = {what: (aim, measured, remark) for what, aim, measured, remark in report.bars(found)}
    wanted = {
        "against two bare loops of the same": (0.98, 29 / 30), "intra-op threads, traced": (1.5, 2),
        "intra-op threads, frozen": (1.3, 29 / 20), "with 2 threads: ours in bf16": (1.6, 58 / 25),
        "with 2 threads: ours in fp32": (0.95, 20 / 25), "at its best, traced": (1.8, 29 / 20),
        "at its best, frozen": (1.3, 29 / 40), "that write one output": (0.8, 0.7),
        "16x16 layer: against the Python": (2.5, 29 / 40), "bf16 against fp32": (1.8, 2),
        "top-1 agreement on the 1,000": (0.995, 0.999), "encoder, ours in fp32": (1.0, 29 / 40),
        "encoder, ours in bf16": (1.0, 58 / 40), "MLP, ours in fp32": (1.0, 29 / 40),
        "MLP, ours in bf16": (1.0, 58 / 40),
    }
    assert len(bars) == len(wanted), sorted(bars)
    for name, (aim, measured) in wanted.items():
        (bar,) = [bar for what, bar in bars.items() if name in what]
        assert bar[0] == aim and abs(bar[1] - measured) < 1e-9, (name, bar)
    assert bars["ResNet-50 fp32: against two bare loops of the same program"][2] == "0.750 with one caller"
    remark = bars["bf16 against fp32: ResNet-50"][2]
    assert "0.13" in remark and "88%" in remark, remark
    assert report.verdict(1.8, 1.8) == "met" and report.verdict(1.8, 1.7) == "missed by 0.100"
    assert report.verdict(1.8, None) == "not measured"


def main():
    check_bars()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["/usr/bin/python3", "-B", HERE / "table.py", "--small", "--seconds", "0.05", "--rounds", "2",
             "--build", sys.argv[1], "--work", folder], stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout)
        found = json.loads(pathlib.Path(folder, "table.json").read_text())
        table = pathlib.Path(folder, "table.md").read_text()
        allocators = subprocess.run(
            ["/usr/bin/python3", "-B", HERE.parent / "allocators.py", "--seconds", "0.02", "--rounds", "1", "--build",
             sys.argv[1], str(pathlib.Path(folder, "models/small-mlp-fp32-8.pt")), "64"],
            stdout=subprocess.PIPE, text=True, check=True)
        print(allocators.stdout)
        for name in found["models"]:
            xml.dom.minidom.parse(str(pathlib.Path(folder, f"peers-{name}.svg")))
    wanted = {"ganglion fp32", "ganglion fp32, one caller", "bare loops", "libtorch traced", "libtorch frozen",
              "pool traced, 1", "pool traced, 2", "pool frozen, 1", "pool frozen, 2"}
    assert set(found["models"]) == {"small-mlp", "small-encoder"}, list(found["models"])
    for model in found["models"].values():
        contenders = model["contenders"]
        assert wanted <= set(contenders) <= wanted | {"ganglion bf16", "ganglion bf16, one caller"}, sorted(contenders)
        for name, about in contenders.items():
            assert len(about["rounds"]) == 2 and min(about["rounds"]) > 0, (name, about)
            assert about["choice"].startswith("batch "), (name, about)
    assert re.search(r"(?m)^malloc as it is +\S+ +1\.000 +\d+\.\d +\d+$", allocators.stdout), allocators.stdout
    # What was not measured is said, and is in no table.
    assert "ONNX Runtime is not measured" in done.stdout
    assert "ONNX" not in table, table
    assert "two bare loops" in table and "small-encoder" in table, table


if __name__ == "__main__":
    main()
