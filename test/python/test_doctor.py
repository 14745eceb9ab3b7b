"""python3 -m torch_neuron.doctor."""

import os
import subprocess
import sys


def doctor(**environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NEURON_RT_", "GANGLION_HOST"))}
    command = [sys.executable, "-m", "torch_neuron.doctor"]
    done = subprocess.run(command, env={**env, **environment}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_it_lists_what_there_is_and_tests_itself():
    status, said = doctor(GANGLION_HOST_CORES="4")
    for text in ("python ", "torch ", "torch_neuron ", "libtorch ", "blas ", "nc:3 is chip0:core3", "all right"):
        assert text in said, said
    assert status == 0 and said.endswith("all is well\n")


def test_a_problem_comes_with_its_remedy():
    status, said = doctor(NEURON_RT_VISIBLE_CORES="zero")
    assert status == 1 and "PROBLEM" in said and "remedy" in said and "zero" in said
