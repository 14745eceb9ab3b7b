"""Calls that do not wait: futures and asyncio."""

import asyncio
import concurrent.futures
import linecache
import threading
import warnings

import pytest
import torch
import torch_neuron
from conftest import Rows, alone, status_at_rest, trace


def same(given, wanted):
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)


def test_submit_returns_a_concurrent_future(rows_model, rows_parallel):
    xs = [torch.rand(rows, 4) for rows in range(30)]
    futures = [rows_parallel.submit(x) for x in xs]
    assert all(isinstance(f, concurrent.futures.Future) for f in futures)
    for x, f in zip(xs, futures):
        same(f.result(10), alone(rows_model, x))
    done, _ = concurrent.futures.wait([rows_parallel.submit(x) for x in xs], timeout=10)
    assert len(done) == 30


def test_a_futures_exception_is_the_calls(rows_parallel):
    e = rows_parallel.submit(torch.rand(3, 9)).exception(10)
    assert isinstance(e, ValueError) and e.code == "shape_mismatch"


def test_callbacks_of_a_future_are_called(rows_parallel):
    told = concurrent.futures.Future()
    rows_parallel.submit(torch.rand(3, 4)).add_done_callback(lambda f: told.set_result(f.result().shape))
    assert told.result(10) == (3, 3)


def test_a_callback_may_cancel_its_own_future_and_others(rows_parallel):
    futures = [rows_parallel.submit(torch.rand(3, 4)) for _ in range(50)]
    for future in futures:
        future.add_done_callback(lambda f: [other.cancel() for other in futures])
    futures[-1].cancel()
    concurrent.futures.wait(futures, 10)
    assert all(future.done() for future in futures)
    assert rows_parallel.submit(torch.rand(3, 4)).result(10).shape == (3, 3)


def test_close_while_other_threads_call(rows_traced):
    for _ in range(20):
        parallel = torch_neuron.DataParallel(rows_traced)
        ended = []

        def call():
            try:
                while True:
                    parallel(torch.rand(3, 4))
            except RuntimeError as e:
                ended.append(e.code)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        parallel.close()
        parallel.close()
        for thread in threads:
            thread.join(10)
        assert ended == ["draining"] * 4


def test_async_forward_awaits_the_answer(rows_model, rows_parallel):
    async def main():
        xs = [torch.rand(1 + i % 9, 4) for i in range(50)]
        answers = await asyncio.gather(*(rows_parallel.async_forward(x) for x in xs))
        for x, answer in zip(xs, answers):
            same(answer, alone(rows_model, x))
        with pytest.raises(ValueError):
            await rows_parallel.async_forward(torch.rand(3, 9))

    asyncio.run(main())


def rows_run():
    return sum(core.rows for core in torch_neuron.status().cores)


def test_a_timeout_is_a_timeout_error_and_drops_the_rows_that_wait(slow):
    async def main():
        before = rows_run()
        with pytest.raises(TimeoutError) as raised:
            await slow.async_forward(torch.rand(2000, 192, 192), timeout=0.05)
        assert raised.value.code == "deadline_exceeded"
        assert (await slow.async_forward(torch.rand(1, 192, 192), timeout=60)).shape == (1, 192, 192)
        assert rows_run() - before < 1000

    asyncio.run(main())


def test_a_cancelled_task_cancels_its_request(slow):
    async def main():
        before = rows_run()
        task = asyncio.ensure_future(slow.async_forward(torch.rand(2000, 192, 192)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert status_at_rest().unanswered == 0 and rows_run() - before < 1000
        assert (await slow.async_forward(torch.rand(1, 192, 192))).shape == (1, 192, 192)

    asyncio.run(main())


def test_submit_takes_a_timeout_a_priority_and_a_tenant(rows_parallel, error_of):
    future = rows_parallel.submit(torch.rand(3, 4), timeout=60, priority="high", tenant="somebody")
    assert future.result(60).shape == (3, 3)
    assert isinstance(rows_parallel.submit(torch.rand(3, 4), timeout=0).exception(10), TimeoutError)
    assert error_of(ValueError, rows_parallel.submit, torch.rand(3, 4), priority="urgent").code == "invalid_argument"
    assert error_of(ValueError, rows_parallel.submit, torch.rand(3, 4), timeout=-1).code == "invalid_argument"


def test_a_future_that_is_cancelled_drops_the_rows_that_wait(slow):
    before = rows_run()
    future = slow.submit(torch.rand(2000, 192, 192))
    assert future.cancel() and future.cancelled() and future.cancel()
    assert concurrent.futures.wait([future], timeout=1).done == {future}
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(1)
    assert status_at_rest().unanswered == 0 and rows_run() - before < 1000
    assert slow(torch.rand(1, 192, 192)).shape == (1, 192, 192)


def test_the_status_tells_of_each_model(error_of):
    parallel = torch_neuron.DataParallel(trace(Rows(), torch.rand(2, 4)))
    before = {model.id for model in torch_neuron.status().models}
    for rows in (1, 2, 3):
        parallel(torch.rand(rows, 4))
    error_of(ValueError, parallel, torch.rand(3, 5))
    (model,) = [m for m in status_at_rest().models if m.rows == 6 and m.id in before]
    assert model.outcomes == {"ok": 3, "shape_mismatch": 1}
    assert model.cores == [0, 1, 2, 3] and model.unanswered == model.queued_rows == 0
    assert 0 < model.compute_seconds[0.5] <= model.total_seconds[0.99] < 60


# --- warnings -----------------------------------------------------------------------------------------------------


def warned(call, action="always"):
    """What a call returned, and the warnings until then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        return call(), caught


WITHOUT_WAITING = {
    "submit": lambda parallel, x: parallel.submit(x).result(10),
    "a callback": lambda parallel, x: wait_for_callback(parallel.submit(x)),
    "async_forward": lambda parallel, x: asyncio.run(awaited(parallel, x)),
}


def wait_for_callback(future):
    told = concurrent.futures.Future()
    tell = lambda f: told.set_exception(f.exception()) if f.exception() else told.set_result(f.result())
    future.add_done_callback(tell)
    return told.result(10)


async def awaited(parallel, x):
    return await parallel.async_forward(x)


@pytest.mark.parametrize("how", WITHOUT_WAITING)
def test_what_a_request_warns_of_is_said_before_its_answer_is_there(rows_traced, how):
    with torch_neuron.DataParallel(rows_traced) as parallel:
        _, caught = warned(lambda: WITHOUT_WAITING[how](parallel, torch.rand(2, 4)))
        (warning,) = caught
        assert warning.category is torch_neuron.NeuronWarning and parallel.warnings == [str(warning.message)]
        assert warning.filename == __file__ and "parallel" in linecache.getline(__file__, warning.lineno)
        assert warned(lambda: WITHOUT_WAITING[how](parallel, torch.rand(2, 4)))[1] == []


def test_split_size_without_dynamic_batching_is_warned_of_through_a_future_as_well(rows_traced):
    with torch_neuron.DataParallel(rows_traced, split_size=2, set_dynamic_batching=False) as parallel:
        _, caught = warned(lambda: parallel.submit(torch.rand(16, 4)).result(10))
        assert [str(w.message) for w in caught] == parallel.warnings and "split_size" in parallel.warnings[0]


def test_a_task_warns_for_the_line_that_called(rows_traced):
    with torch_neuron.DataParallel(rows_traced) as parallel:

        async def main():
            tasks = [asyncio.create_task(parallel.async_forward(torch.rand(2, 4)))]
            await asyncio.gather(*tasks)

        (warning,) = warned(lambda: asyncio.run(main()))[1]
        assert warning.filename == __file__ and "create_task" in linecache.getline(__file__, warning.lineno)


def test_what_another_object_warns_of_is_not_said_in_a_call(rows_traced, slow):
    """A callback holds the futures back, so that the call of the second is there before the future of the first."""
    first, second = (torch_neuron.DataParallel(rows_traced) for _ in range(2))
    told, gate = threading.Event(), threading.Event()
    slow.submit(torch.rand(64, 192, 192)).add_done_callback(lambda f: (told.set(), gate.wait(60)))
    told.wait(60)
    future = first.submit(torch.rand(2, 4))
    status_at_rest()
    try:
        assert warned(lambda: second(torch.rand(16, 4)), "error")[1] == []
        _, caught = warned(lambda: (gate.set(), future.result(60)))
    finally:
        gate.set()
    assert len(first.warnings) == 1 and [str(w.message) for w in caught] == first.warnings


@pytest.mark.parametrize("how", WITHOUT_WAITING)
def test_a_warning_that_is_an_error_is_raised_by_the_future(rows_traced, how):
    with torch_neuron.DataParallel(rows_traced) as parallel:
        with pytest.raises(torch_neuron.NeuronWarning):
            warned(lambda: WITHOUT_WAITING[how](parallel, torch.rand(2, 4)), "error")
        assert parallel(torch.rand(2, 4)).shape == (2, 3)


def test_no_warning_is_lost_behind_one_that_is_an_error():
    said = torch_neuron._warnings.say
    raised, rest = [], []

    def say(*args):
        (rest if raised else raised).append(args)
        if not rest:
            raise torch_neuron.NeuronWarning

    class Scalar(torch.nn.Module):
        def forward(self, x):
            return x.sum()

    traced = warned(lambda: trace(Scalar(), torch.rand(2, 4)))[0]
    torch_neuron._warnings.say = say
    try:
        with pytest.raises(torch_neuron.NeuronWarning):
            torch_neuron.DataParallel(traced)
        torch_neuron._engine.say_what_was_logged()
    finally:
        torch_neuron._warnings.say = said
    assert len(raised) == 1 and len(rest) == 1
