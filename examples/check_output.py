#!/usr/bin/python3
"""Runs an example and checks its exit status and what it prints: check_output.py PATTERN PROGRAM [ARGUMENT]...

CTest looks at one of the two only. PATTERN is a regular expression that is searched for in stdout and stderr.
"""

import re
import subprocess
import sys

pattern, *command = sys.argv[1:]
ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(ended.stdout, end="")
if ended.returncode != 0:
    sys.exit(f"{command[0]} ended with {ended.returncode}")
if not re.search(pattern, ended.stdout, re.DOTALL):
    sys.exit(f"{command[0]} did not print {pattern!r}")
