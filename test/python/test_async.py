"""Calls that do not wait: futures and asyncio."""

import asyncio
import concurrent.futures

import pytest
import torch
import torch_neuron
from conftest import alone, trace


class Slow(torch.nn.Module):
    def forward(self, x):
        y = x
        for _ in range(40):
            y = torch.tanh(y @ y.transpose(-1, -2))
        return y


@pytest.fixture(scope="module")
def slow():
    with torch_neuron.DataParallel(trace(Slow(), torch.rand(1, 192, 192))) as parallel:
        yield parallel


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


def test_async_forward_awaits_the_answer(rows_model, rows_parallel):
    async def main():
        xs = [torch.rand(1 + i % 9, 4) for i in range(50)]
        answers = await asyncio.gather(*(rows_parallel.async_forward(x) for x in xs))
        for x, answer in zip(xs, answers):
            same(answer, alone(rows_model, x))
        with pytest.raises(ValueError):
            await rows_parallel.async_forward(torch.rand(3, 9))

    asyncio.run(main())


def test_a_timeout_is_a_timeout_error_and_the_object_goes_on(slow):
    async def main():
        with pytest.raises(TimeoutError) as raised:
            await slow.async_forward(torch.rand(64, 192, 192), timeout=0.02)
        assert raised.value.code == "deadline_exceeded" and "0.02" in str(raised.value)
        assert (await slow.async_forward(torch.rand(1, 192, 192), timeout=60)).shape == (1, 192, 192)

    asyncio.run(main())


def test_a_cancelled_task_stops_waiting_and_the_object_goes_on(slow):
    async def main():
        task = asyncio.ensure_future(slow.async_forward(torch.rand(64, 192, 192)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await slow.async_forward(torch.rand(1, 192, 192))).shape == (1, 192, 192)

    asyncio.run(main())


def test_a_future_can_be_cancelled(slow):
    future = slow.submit(torch.rand(64, 192, 192))
    assert future.cancel() and future.cancelled() and future.cancel()
    assert concurrent.futures.wait([future], timeout=1).done == {future}
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(1)
    assert slow(torch.rand(1, 192, 192)).shape == (1, 192, 192)
