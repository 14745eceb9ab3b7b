"""What futures call back, and calls that would wait for themselves."""

import concurrent.futures
import os
import threading
import time
import weakref

import pytest
import torch
import torch_neuron
from conftest import run_python, trace


def told(future):
    """The future of what the function says that is given to it: called back by another future."""
    result = concurrent.futures.Future()

    def call(function):
        def callback(f):
            try:
                result.set_result(function(f))
            except BaseException as e:
                result.set_exception(e)

        future.add_done_callback(callback)
        return result

    return call


@pytest.mark.parametrize("wait", ["result", "exception"])
def test_a_callback_that_waits_for_another_future_is_refused(slow, rows_parallel, wait):
    future = slow.submit(torch.rand(64, 192, 192))
    e = told(future)(lambda f: getattr(slow.submit(torch.rand(8, 192, 192)), wait)(60)).exception(60)
    assert isinstance(e, ValueError) and e.code == "invalid_argument" and "callback" in str(e)
    assert rows_parallel.submit(torch.rand(3, 4)).result(60).shape == (3, 3)


def test_a_callback_may_read_futures_that_are_done_and_call(slow, rows_parallel):
    done = rows_parallel.submit(torch.rand(2, 4))
    done.result()
    future = slow.submit(torch.rand(64, 192, 192))
    asked = lambda f: (done.result().shape, f.exception(), rows_parallel(torch.rand(5, 4)).shape)
    assert told(future)(asked).result(60) == ((2, 3), None, (5, 3))


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError])
def test_whatever_a_callback_raises_the_rest_is_called(slow, kind):
    future, called = slow.submit(torch.rand(64, 192, 192)), concurrent.futures.Future()

    def fail(f):
        raise kind(3)

    future.add_done_callback(fail)
    future.add_done_callback(lambda f: called.set_result(True))
    assert called.result(60)
    slow.submit(torch.rand(1, 192, 192)).result(60)  # is told after that one
    assert future not in torch_neuron._futures._waiting


ENDS = {
    "blocks": "threading.Event().wait()",
    "goes on": "while True: time.sleep(0.001)",
    "works": "while True: sum(range(1000))",
    "calls": "while True: quick(torch.rand(3, 4))",
}


@pytest.fixture(scope="module")
def ends():
    """How interpreters ended in which a callback does each of these: all at once, since each takes five seconds."""

    def end(does):
        code = f"""
quick = torch.neuron.DataParallel(torch_neuron.trace(torch.nn.Linear(4, 4).eval(), torch.rand(2, 4), tune=False))
began = threading.Event()

def callback(f):
    if threading.current_thread() is threading.main_thread():
        return ask()  # the answer came before the callback was added
    began.set()
    {does}

def ask():
    quick.submit(torch.rand(3, 4)).add_done_callback(callback)

ask()
began.wait()
print("end", flush=True)
"""
        began = time.monotonic()
        return *run_python(code, timeout=120), time.monotonic() - began

    with concurrent.futures.ThreadPoolExecutor(len(ENDS)) as pool:
        return dict(zip(ENDS, pool.map(end, ENDS.values())))


@pytest.mark.parametrize("what", ENDS)
def test_the_interpreter_ends_where_a_callback_does_not(ends, what):
    """Six seconds later at the latest, whatever the callback does meanwhile."""
    status, said, errors, seconds = ends[what]
    assert (status, said) == (0, "end\n"), (status, errors)
    assert "terminate" not in errors and "Fatal" not in errors
    assert seconds < 60


# --- on a thread of the engine ----------------------------------------------------------------------------------------

NESTED = """
sys.path.insert(0, %r)
import spy
linear = torch_neuron.trace(torch.nn.Linear(4, 3).eval(), torch.rand(2, 4), tune=False)
uses = {
    "call": lambda: quick(torch.rand(2, 4)),
    "result": lambda: quick.submit(torch.rand(2, 4)).result(),
    "make": lambda: torch.neuron.DataParallel(linear),
    "replace": lambda: quick.replace(linear),
    "status": torch_neuron.status,
}
said = []

def use(chunk):
    try:
        said.append(uses[sys.argv[1]]())
    except ValueError as e:
        said.append((e.code, "own threads" in str(e)))

quick = torch.neuron.DataParallel(linear)
with torch.neuron.DataParallel(torch_neuron.trace(spy.Spied(), torch.rand(2, 4), tune=False)) as outer:
    with spy.told_to(use):
        outer(torch.rand(2, 4))
print(said)
sys.stdout.flush()
os._exit(0)
""" % os.path.dirname(__file__)


@pytest.mark.parametrize("what", ["call", "result", "make", "replace", "status"])
def test_an_operator_that_waits_for_the_engine_is_refused(what):
    """On the only core, which would wait for itself for ever."""
    status, said, errors = run_python(NESTED, what, cores="1", timeout=60)
    assert (status, said) == (0, "[('invalid_argument', True)]\n"), (said, errors)


# --- inputs -----------------------------------------------------------------------------------------------------------


class First(torch.nn.Module):
    def forward(self, x):
        return x[:, :1] + 0


class Owner(bytearray):
    """Memory that knows whether it is still there."""


@pytest.mark.parametrize("how", ["call", "submit"])
def test_inputs_are_let_go_of_while_the_main_thread_waits(how):
    freed = []
    with torch_neuron.DataParallel(trace(First(), torch.rand(64, 4096))) as parallel:

        def work():
            owner = Owner(64 << 20)
            alive = weakref.ref(owner)
            x = torch.frombuffer(owner, dtype=torch.float32).view(-1, 4096)
            del owner
            parallel(x) if how == "call" else parallel.submit(x).result()
            del x
            end = time.monotonic() + 20
            while alive() is not None and time.monotonic() < end:
                time.sleep(0.01)
            freed.append(alive() is None)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert freed == [True]
