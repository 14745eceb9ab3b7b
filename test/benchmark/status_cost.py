#!/usr/bin/env python3
"""What the counters of status() add to a request, in instructions: at most 2 %.

usage: status_cost.py BENCHMARK_SATURATED_ONE_ROW [--seconds S]

Runs the benchmark under callgrind (package valgrind, a minute) and compares what `model_counters` does with what is done
for a request: by the call that starts it, by the actors, and by the lane that runs its execution.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile


def inclusive_instructions(program, seconds):
    with tempfile.TemporaryDirectory() as folder:
        profile = os.path.join(folder, "profile")
        subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", program, "--small",
                        "--seconds", seconds], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", profile], check=True,
                              capture_output=True, text=True).stdout
    lines = re.findall(r"^\s*([\d,]+) \([^)]*\)\s+\S+:((?:ganglion|caf::scheduler)::\S+)\(", text, re.MULTILINE)
    return {name: int(count.replace(",", "")) for count, name in lines}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seconds", default="2")
    given = parser.parse_args()
    cost = inclusive_instructions(given.program, given.seconds)
    counters = sum(cost[f"ganglion::model_counters::{name}"] for name in ("accepted", "left_queue", "answered"))
    requests = sum(cost[name] for name in (
        "ganglion::data_parallel::start", "caf::scheduler::worker<caf::policy::work_sharing>::run", "ganglion::run_execution"))
    share = 100 * counters / requests
    print(f"status_cost: {share:.2f} % of a request's instructions: at most 2 % are wanted")
    sys.exit(share > 2)


if __name__ == "__main__":
    main()
