#!/usr/bin/python3
"""Whether a benchmark works: check_report.py FIGURES PROGRAM [ARGUMENT]...

Runs the program and looks at its report: it is one JSON object of numbers that make sense, and those of FIGURES, names
with commas between them, are in it and above zero. How large they are is not looked at.
"""

import json
import math
import subprocess
import sys


def main():
    names = sys.argv[1].split(",")
    done = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    print(json.dumps(found, indent=2))
    title = found.pop("benchmark")
    problems = [f"{name} is {value}" for name, value in found.items() if not math.isfinite(value)]
    problems += [f"{name} is {found.get(name)}" for name in names if not found.get(name, 0) > 0]
    for problem in problems:
        print(f"{title}: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
