#!/usr/bin/python3
"""What Python costs, as three ratios to be compared with their aims:

    PYTHONPATH=build/release/python test/benchmark/python_overhead.py [--seconds S] [--rounds N] [FIGURE...]

resnet50     ResNet-50, requests of 16 images on all cores: the engine through Python against `ganglion bench`;
             at least 0.98
one_row      a call of one row of a model that does nothing: microseconds over the same call in C++; at most 15
thread_pool  a 16x16 layer compiled for 16 rows, 4,096 rows in one call: against a pool of Python threads that
             does what torch-neuron documents (2 x cores workers; split, pad, run, cat); at least 2

The two sides of a round are measured one after the other, so that what else the machine does meets both. Printed
are the medians of the rounds' ratios and, of one_row, of their differences. Needs the command of the same build, and for
resnet50 the model of `scripts/make-resnet50 build/models/resnet50.pt`.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import torch
import torch_neuron

ROOT = pathlib.Path(__file__).resolve().parents[2]
GANGLION = pathlib.Path(torch_neuron._engine.__file__).resolve().parents[2] / "bin/ganglion"
RESNET50 = ROOT / "build/models/resnet50.pt"


def bench(model, *options):
    """What `ganglion bench` says of a model."""
    done = subprocess.run([GANGLION, "bench", model, "--json", *options], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def rows_per_second(parallel, x, seconds):
    """As `ganglion bench` does it: a few requests under way at any time."""
    waiting = collections.deque(parallel.submit(x) for _ in range(4))
    rows, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        waiting.popleft().result()
        waiting.append(parallel.submit(x))
        rows += len(x)
    seconds = time.perf_counter() - start
    for future in waiting:
        future.result()
    return rows / seconds


def seconds_a_call(call, seconds):
    """The median of single calls."""
    for _ in range(50):
        call()
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def resnet50(seconds, rounds):
    if not RESNET50.exists():
        sys.exit(f"{RESNET50} is not there: scripts/make-resnet50 {RESNET50}")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/resnet50.pt"
        torch.jit.save(torch_neuron.trace(torch.jit.load(str(RESNET50)), torch.rand(1, 3, 224, 224)), path)
        x = torch.rand(16, 3, 224, 224)
        ratios = []
        for _ in range(rounds):
            cpp = bench(path, "--batch", "16", "--seconds", str(seconds))["rows_per_second"]
            with torch.neuron.DataParallel(torch.jit.load(path)) as parallel:
                rows_per_second(parallel, x, 1)
                python = rows_per_second(parallel, x, seconds)
            ratios.append(python / cpp)
            print(f"  Python {python:.2f}, C++ {cpp:.2f} images a second: {ratios[-1]:.3f}", flush=True)
    return f"{statistics.median(ratios):.3f} of the C++ figure (aim: at least 0.98)"


def one_row(seconds, rounds):
    class Nothing(torch.nn.Module):
        def forward(self, x):
            return x + 0

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/nothing.pt"
        torch.jit.save(torch_neuron.trace(Nothing(), torch.rand(1, 4), tune=False), path)
        x = torch.rand(1, 4)
        differences = []
        for _ in range(rounds):
            with torch.neuron.DataParallel(torch.jit.load(path), device_ids=[0]) as parallel:
                python = seconds_a_call(lambda: parallel(x), seconds)
            options = ("--scenario", "single-stream", "--batch", "1", "--device-ids", "0", "--seconds", str(seconds))
            cpp = 1e-3 * bench(path, *options)["latency_ms"]["p50"]
            print(f"  Python {1e6 * python:.1f}, C++ {1e6 * cpp:.1f} us a call", flush=True)
            differences.append(python - cpp)
    return f"{1e6 * statistics.median(differences):+.1f} us over the C++ call (aim: at most 15)"


class ThreadPool:
    """What torch-neuron documents of its DataParallel, as a pool of Python threads."""

    def __init__(self, model, rows, cores):
        self.models = [torch.jit.freeze(torch.jit.script(model.eval())) for _ in range(cores)]
        self.rows, self.cores = rows, cores
        self.pool = concurrent.futures.ThreadPoolExecutor(2 * cores)

    def __call__(self, x):
        size = max(1, len(x) // self.cores)
        chunks = list(x.split(size))
        futures = [self.pool.submit(self.run, self.models[i % self.cores], chunk) for i, chunk in enumerate(chunks)]
        return torch.cat([f.result() for f in futures])

    def run(self, model, chunk):
        outputs = []
        with torch.inference_mode():
            for part in chunk.split(self.rows):
                missing = self.rows - len(part)
                if missing:
                    part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
                outputs.append(model(part))
            return torch.cat(outputs)[: len(chunk)]


def thread_pool(seconds, rounds):
    model = torch.nn.Linear(16, 16).eval()
    x = torch.rand(4096, 16)
    ratios = []
    with torch.neuron.DataParallel(torch_neuron.trace(model, torch.rand(16, 16))) as parallel:
        pool = ThreadPool(model, 16, len(parallel.device_ids))
        torch.set_num_threads(1)
        assert torch.allclose(pool(x), parallel(x), atol=1e-5)
        for _ in range(rounds):
            slow, fast = seconds_a_call(lambda: pool(x), seconds), seconds_a_call(lambda: parallel(x), seconds)
            ratios.append(slow / fast)
            print(f"  pool {1e3 * slow:.3f}, engine {1e3 * fast:.3f} ms a call: {ratios[-1]:.2f}", flush=True)
    return f"{statistics.median(ratios):.2f} times the Python thread pool (aim: at least 2)"


FIGURES = {f.__name__: f for f in (resnet50, one_row, thread_pool)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("figures", nargs="*", choices=[[], *FIGURES], metavar="FIGURE")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", torch_neuron.NeuronWarning)
    for name in arguments.figures or FIGURES:
        print(name, flush=True)
        print(f"{name}: {FIGURES[name](arguments.seconds, arguments.rounds)}", flush=True)


if __name__ == "__main__":
    main()
