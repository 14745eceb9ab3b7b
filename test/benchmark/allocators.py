#!/usr/bin/python3
"""What the memory of activations costs, by the allocator that a process has.

    test/benchmark/allocators.py [--seconds S] [--rounds N] [--folder FOLDER] [ARTIFACT [ROWS]]

Runs ROWS rows a call (default: 16) of a compiled model (default: build/models/resnet50-1.pt, which scripts/quickstart
makes) through an engine on all cores, in a process for each allocator, in turn. Told are the rows a second and their
ratio to malloc as it is, the minor page faults of a row, and the memory of the process: medians over the rounds.
jemalloc and mimalloc are Debian's libjemalloc2 and libmimalloc2.0; FOLDER is another place where their libraries are.
What is not there is left out, with a line that says so.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
ALLOCATORS = {
    "malloc as it is": {},
    "malloc, thresholds raised": THRESHOLDS,
    "the same, huge pages": {**THRESHOLDS, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "the same, one arena": {**THRESHOLDS, "MALLOC_ARENA_MAX": "1"},
    "jemalloc": {"LD_PRELOAD": "libjemalloc.so.2"},
    "jemalloc that keeps its pages": {
        "LD_PRELOAD": "libjemalloc.so.2", "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"},
    "jemalloc, huge pages too": {
        "LD_PRELOAD": "libjemalloc.so.2", "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"},
    "mimalloc": {"LD_PRELOAD": "libmimalloc.so.2"},
}


def library(name, folder):
    """Where a library is, or None."""
    for place in [folder, pathlib.Path("/usr/lib") / f"{os.uname().machine}-linux-gnu"]:
        if place and (place / name).exists():
            return place / name
    return None


def start(command, environment, folder):
    """The process, or None where its allocator is not there."""
    environment = dict(environment)
    if name := environment.get("LD_PRELOAD"):
        path = library(name, folder)
        if path is None:
            return None
        environment["LD_PRELOAD"] = str(path)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                               env={**os.environ, **environment})
    process.stdout.readline()
    return process


def measure(process, seconds):
    process.stdin.write(f"measure {seconds}\n")
    return json.loads(process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("artifact", nargs="?", default=ROOT / "build/models/resnet50-1.pt")
    parser.add_argument("rows", nargs="?", default="16")
    given = parser.parse_args()
    command = [given.build / "bin/benchmark_contender", "engine", given.rows, given.artifact]
    running = {}
    for name, environment in ALLOCATORS.items():
        if process := start(command, environment, given.folder):
            running[name] = process
        else:
            print(f"{name}: left out, {environment['LD_PRELOAD']} is not there")
    found = {name: [] for name in running}
    for process in running.values():
        measure(process, given.seconds / 3)
    for _ in range(given.rounds):
        for name, process in running.items():
            found[name].append(measure(process, given.seconds))
    for process in running.values():
        process.stdin.close()
        process.wait()

    def median(name, what):
        return statistics.median(round[what] for round in found[name])

    print(f"{'':32}{'rows/s':>9}{'ratio':>8}{'faults/row':>12}{'MiB':>7}")
    for name in found:
        ratio = statistics.median(ours["rows_per_second"] / plain["rows_per_second"]
                                  for ours, plain in zip(found[name], found["malloc as it is"]))
        print(f"{name:32}{median(name, 'rows_per_second'):9.4g}{ratio:8.3f}{median(name, 'faults_per_row'):12.1f}"
              f"{median(name, 'resident_mib'):7.0f}")


if __name__ == "__main__":
    main()
