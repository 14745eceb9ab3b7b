"""The end of the interpreter, each in a process of its own."""

import signal
import subprocess
import sys

import pytest
from conftest import run_python, slow_program

# A model that waits 20 ms for each row, in Python.
OPERATOR = """
library, fails = torch.library.Library("ends", "DEF"), False
library.define("wait(Tensor x) -> Tensor")

def wait(x):
    time.sleep(0.02)
    assert not fails
    return x + 1

library.impl("wait", wait, "CPU")
traced = torch_neuron.trace(lambda x: torch.ops.ends.wait(x), torch.rand(1, 4), tune=False)
parallel = torch.neuron.DataParallel(traced)
"""
ENDS = {
    "futures": "fs = [slow.submit(torch.rand(3, 256, 256)) for _ in range(20)]",
    "numpy": "import numpy\nx = numpy.zeros((3, 256, 256), 'f4')\n"
    "fs = [slow.submit(torch.from_numpy(x.copy())) for _ in range(20)]",
    "threads": """
def work():
    while True:
        slow(torch.rand(4, 256, 256))

for _ in range(6):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
""",
    "quick threads": """
def work():
    while True:
        quick(torch.rand(40, 4))
        quick.submit(torch.rand(4, 4))

for _ in range(6):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
""",
    "callbacks that send again": """
def again(f):
    slow.submit(torch.rand(3, 256, 256)).add_done_callback(again)

for _ in range(3):
    slow.submit(torch.rand(3, 256, 256)).add_done_callback(again)
""",
    # More than what the end waits for, so that some of it is refused.
    "operators in Python": OPERATOR + "fs = [parallel.submit(torch.rand(4, 4)) for _ in range(1000)]\ntime.sleep(0.1)",
    "operators in Python that fail": OPERATOR + "fails = True\ntry:\n    parallel(torch.rand(9, 4))\n"
    "except RuntimeError as e:\n    assert e.code == 'forward_failed'\n",
    "exception": "fs = [slow.submit(torch.rand(3, 256, 256)) for _ in range(20)]\nraise SystemExit(0)",
    "nothing": "del slow",
}


@pytest.mark.parametrize("what", ENDS)
def test_the_interpreter_ends_cleanly_with_calls_in_flight(what):
    status, said, errors = run_python(slow_program(10) + ENDS[what] + "\n")
    lines = [line for line in errors.splitlines() if "draining" not in line]  # refused callbacks are told of
    assert status == 0, (status, errors)
    assert not any("terminate" in line or "Fatal" in line or "core dumped" in line for line in lines), errors


def test_a_second_ctrl_c_while_the_interpreter_ends_is_no_crash():
    code = slow_program(10) + """
def loop():
    while True:
        slow(torch.rand(2, 256, 256))

for _ in range(4):
    threading.Thread(target=loop, daemon=True).start()
fs = [slow.submit(torch.rand(400, 256, 256)) for _ in range(3)]

def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.7)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
fs[0].result()
"""
    status, said, errors = run_python(code)
    assert status == -signal.SIGINT, (status, errors)
    assert "terminate" not in errors and "Fatal" not in errors, errors


LATE = {
    "call": "quick(torch.rand(2, 4))",
    "submit": "quick.submit(torch.rand(2, 4))",
    "trace": "torch_neuron.trace(linear, torch.rand(2, 4), tune=False)",
    "DataParallel": "torch.neuron.DataParallel(quick.module)",
}


@pytest.mark.parametrize("what", LATE)
def test_what_comes_after_the_end_is_refused(what):
    """Also where nothing can be imported any more."""
    late = """
import atexit
late = []
atexit.register(lambda: late[0]())
""" + "import torch, torch_neuron, sys\n" + slow_program(1) + """
class Last:
    def __del__(self):
        use()

def use():
    try:
        %s
        print("no error")
    except RuntimeError as e:
        print(e.code)

late.append(use)
last = Last()
""" % LATE[what]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", late], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "draining\ndraining\n"), done.stderr
