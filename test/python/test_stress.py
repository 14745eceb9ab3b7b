"""Many calls. The numbers may be raised: TORCH_NEURON_TEST_CALLS times as many calls (docs/how-to/python.md)."""

import concurrent.futures
import gc
import os
import tracemalloc

import torch
import torch_neuron
from conftest import Rows, status_at_rest, trace

TIMES = float(os.environ.get("TORCH_NEURON_TEST_CALLS", "1"))


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_eight_threads_of_ten_thousand_calls_each_get_their_own_rows(rows_traced, rows_model):
    calls = int(10_000 * TIMES)
    wanted = [rows_model(torch.full((1, 4), float(i))).detach() for i in range(64)]
    with torch_neuron.DataParallel(rows_traced) as parallel:

        def right_answers(thread):
            right = 0
            for i in range(calls):
                value = (thread * 7 + i) % 64
                x = torch.full((1 + i % 3, 4), float(value))
                answer = parallel(x)
                right += answer.shape == (len(x), 3) and torch.allclose(
                    answer, wanted[value].expand(len(x), 3), rtol=1e-4, atol=1e-4)
            return right

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(right_answers, range(8))) == [calls] * 8
        status = status_at_rest(parallel.status)
    assert status.unanswered == 0 and status.queued_rows == 0


def grown_over(calls, call):
    """Bytes that Python and the process hold more after so many calls than before them; a tenth more warms up."""
    tracemalloc.start()
    try:
        for _ in range(calls // 10):
            call()
        gc.collect()
        python, process = tracemalloc.get_traced_memory()[0], resident()
        for _ in range(calls):
            call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - python, resident() - process
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_calls_leak_nothing(rows_traced):
    x = torch.rand(2, 4)
    with torch_neuron.DataParallel(rows_traced) as parallel:
        python, process = grown_over(int(100_000 * TIMES), lambda: parallel(x))
    assert python < 64 << 10 and process < 8 << 20


def test_failed_calls_and_futures_leak_nothing(rows_traced):
    good, bad = torch.rand(2, 4), torch.rand(2, 5)
    with torch_neuron.DataParallel(rows_traced) as parallel:

        def call():
            try:
                parallel(bad)
            except ValueError:
                pass
            parallel.submit(good).result()

        python, process = grown_over(int(5_000 * TIMES), call)
    assert python < 64 << 10 and process < 8 << 20


def test_models_that_come_and_go_leak_nothing():
    traced = trace(Rows(features=256, outputs=256), torch.rand(2, 256))
    x = torch.rand(5, 256)

    def call():
        with torch_neuron.DataParallel(traced) as parallel:
            parallel(x)

    python, process = grown_over(int(300 * TIMES), call)
    assert python < 64 << 10 and process < 32 << 20
