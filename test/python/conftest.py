"""What the tests share. The host pretends four cores, so that the examples of torch.neuron's page fit."""

import os

for _variable in ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"):
    os.environ.pop(_variable, None)
os.environ["GANGLION_HOST_CORES"] = "4"

import subprocess
import sys
import time
import warnings

import pytest
import torch
import torch_neuron


def status_at_rest(status=torch_neuron.status, seconds=10):
    """The status once nothing is counted as unanswered or running any more: an answer is there before it is counted."""
    end = time.monotonic() + seconds
    while ((now := status()).unanswered or now.executions_in_flight) and time.monotonic() < end:
        time.sleep(0.01)
    return now


class Rows(torch.nn.Module):
    """Independent rows with values that tell them apart."""

    def __init__(self, features=4, outputs=3):
        super().__init__()
        torch.manual_seed(7)
        self.linear = torch.nn.Linear(features, outputs)

    def forward(self, x):
        return torch.relu(self.linear(x)) + x.sum(1, keepdim=True)


class Conv(torch.nn.Module):
    """The example of torch.neuron's page."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.conv = torch.nn.Conv2d(3, 3, 3)

    def forward(self, x):
        return self.conv(x) + 1


def trace(model, *example, **options):
    """Without timing the programs: the answer is the same, sooner."""
    return torch_neuron.trace(model.eval(), example, tune=False, **options)


def alone(model, *inputs):
    with torch.no_grad():
        return model.eval()(*inputs)


def quiet(function, *args, **kwargs):
    """Calls it, and returns what it returned and the sentences that it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, [str(w.message) for w in caught if issubclass(w.category, torch_neuron.NeuronWarning)]


def start_python(code, *arguments, cores="4", **environment):
    """Starts a program of its own process, as text with pipes."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NEURON_RT_", "GANGLION_"))}
    if cores:
        env["GANGLION_HOST_CORES"] = cores
    env.update(environment)
    prelude = "import sys, os, threading, time, signal, warnings\nwarnings.simplefilter('ignore')\n" \
        "import torch, torch_neuron\n"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", prelude + code, *arguments], env=env, text=True, **pipes)


def run_python(code, *arguments, timeout=120, **environment):
    """Runs such a program; its exit status and output."""
    with start_python(code, *arguments, **environment) as process:
        try:
            said, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return process.returncode, said, errors


# A program with a model whose rows take as long as is asked for.
SLOW_PROGRAM = """
class Slow(torch.nn.Module):
    def forward(self, x):
        y = x
        for _ in range(%d):
            y = torch.tanh(y @ y.transpose(-1, -2))[..., : x.shape[-1]]
        return y

model = Slow().eval()
slow = torch.neuron.DataParallel(torch_neuron.trace(model, torch.rand(1, 256, 256), tune=False))
linear = torch.nn.Linear(4, 4).eval()
quick = torch.neuron.DataParallel(torch_neuron.trace(linear, torch.rand(2, 4), tune=False))
"""


def slow_program(repetitions):
    return SLOW_PROGRAM % repetitions


@pytest.fixture(scope="session")
def rows_model():
    return Rows().eval()


@pytest.fixture(scope="session")
def rows_traced(rows_model):
    """Compiled for 4 rows."""
    return trace(rows_model, torch.rand(4, 4))


@pytest.fixture
def rows_parallel(rows_traced):
    with torch_neuron.DataParallel(rows_traced) as parallel:
        yield parallel


@pytest.fixture
def error_of():
    """error_of(kind, call): the exception of that kind that the call raised."""

    def check(kind, call, *args, **kwargs):
        with pytest.raises(kind) as raised:
            call(*args, **kwargs)
        assert isinstance(raised.value, torch_neuron.NeuronError)
        return raised.value

    return check


class Slow(torch.nn.Module):
    """Runs for a while, so that much happens before its answer is there."""

    def forward(self, x):
        y = x
        for _ in range(40):
            y = torch.tanh(y @ y.transpose(-1, -2))
        return y


@pytest.fixture(scope="module")
def slow():
    with torch_neuron.DataParallel(trace(Slow(), torch.rand(1, 192, 192))) as parallel:
        yield parallel
