#!/usr/bin/env python3
"""What the counters of status() add to a request, in instructions: at most 2 %.

usage: status_cost.py BENCHMARK_SATURATED_ONE_ROW

Runs the benchmark under callgrind (package valgrind, some minutes) and compares what `model_counters` does with what the
calls that start a request and run an execution do: less than all of a request, so the share is at most the one told.
"""

import os
import re
import subprocess
import sys
import tempfile


def inclusive_instructions(program):
    with tempfile.TemporaryDirectory() as folder:
        profile = os.path.join(folder, "profile")
        subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", program, "--small",
                        "--seconds", "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", profile], check=True,
                              capture_output=True, text=True).stdout
    lines = re.findall(r"^\s*([\d,]+) \([^)]*\)\s+\S+:(ganglion::\S+)\(", text, re.MULTILINE)
    return {name: int(count.replace(",", "")) for count, name in lines}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    cost = inclusive_instructions(sys.argv[1])
    counters = sum(cost[f"ganglion::model_counters::{name}"] for name in ("accepted", "left_queue", "answered"))
    requests = cost["ganglion::data_parallel::start"] + cost["ganglion::run_execution"]
    share = 100 * counters / requests
    print(f"status_cost: {share:.2f} % of a request's instructions: at most 2 % are wanted")
    sys.exit(share > 2)


if __name__ == "__main__":
    main()
