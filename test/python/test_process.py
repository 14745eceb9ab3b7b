"""Threads, signals, forks and the end of the interpreter. What ends or forks a process runs in one of its own."""

import concurrent.futures
import subprocess
import sys

import pytest
import torch
from conftest import alone, run_python

# A model whose rows take as long as is asked for.
SLOW = """
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


def slow(repetitions):
    return SLOW % repetitions


def test_many_python_threads_may_call_one_object(rows_model, rows_parallel):
    def work(seed):
        for i in range(200):
            x = torch.full((1 + (seed + i) % 23, 4), float(seed * 1000 + i))
            if not torch.allclose(rows_parallel(x), alone(rows_model, x), rtol=1e-4):
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_the_gil_is_free_while_cores_run():
    code = slow(60) + """
counted = 0
done = threading.Event()

def count():
    global counted
    while not done.is_set():
        counted += 1
        time.sleep(0)

t = threading.Thread(target=count)
t.start()
before = counted
slow(torch.rand(8, 256, 256))
during = counted - before
done.set()
t.join()
print(during)
"""
    status, said, errors = run_python(code)
    assert status == 0 and int(said) > 100, errors


def test_ctrl_c_cancels_a_call_and_leaves_the_engine_usable():
    code = slow(100) + """
def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
start = time.monotonic()
try:
    slow(torch.rand(256, 256, 256))
    print("was not interrupted")
except KeyboardInterrupt:
    print("interrupted after", time.monotonic() - start)
x = torch.rand(5, 4)
print(quick(x).shape)
end = time.monotonic() + 10
while torch_neuron.status().unanswered and time.monotonic() < end:
    time.sleep(0.01)
print(torch_neuron.status().unanswered)
sys.stdout.flush()
os._exit(0)
"""
    status, said, errors = run_python(code)
    first, second, unanswered = said.splitlines()
    assert first.startswith("interrupted") and float(first.split()[-1]) < 5, (said, errors)
    assert (second, unanswered) == ("torch.Size([5, 4])", "0")


LONG = {
    # A trace, a load, and a compilation of what was loaded from a file, each of some seconds.
    "tracing": "work = lambda: torch_neuron.trace(model, torch.rand(1, 256, 256))",
    # What is loaded already is there at once.
    "loading": """
traced = [torch_neuron.trace(model, torch.rand(1, 256, 256), tune=False) for _ in range(4)]
work = lambda: torch.neuron.DataParallel(traced.pop())
""",
    "compiling again": """
import io
file = io.BytesIO()
torch.jit.save(slow.module, file)

def work():
    file.seek(0)
    torch.neuron.DataParallel(torch.jit.load(file))
""",
}


@pytest.mark.parametrize("what", LONG)
def test_ctrl_c_ends_what_takes_long_and_leaves_the_engine_usable(what):
    code = slow(25) + LONG[what] + """
def timed(interrupted_after=0):
    start = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, interrupted_after)
        work()
    except KeyboardInterrupt:
        print("interrupted", end=" ")
    return time.monotonic() - start

signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
timed()
whole = timed()
print(timed(whole / 5) / whole, quick(torch.rand(5, 4)).shape[0])
sys.stdout.flush()
work()
"""
    status, said, errors = run_python(code, cores="16")
    assert status == 0, errors
    how, share, rows = said.split()
    assert how == "interrupted" and rows == "5" and float(share) < 0.7, (said, errors)


def test_use_in_a_fork_is_a_clear_error_and_no_hang():
    code = slow(1) + """
child = os.fork()
if child == 0:
    for use in (lambda: quick(torch.rand(2, 4)), lambda: quick.submit(torch.rand(2, 4)), quick.status,
                lambda: torch.neuron.DataParallel(quick.module), lambda: quick.num_workers):
        try:
            use()
        except RuntimeError as e:
            print(e.code, "fork" in str(e), str(os.getppid()) in str(e))
    del quick, slow
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), quick(torch.rand(2, 4)).shape)
"""
    status, said, errors = run_python(code)
    assert status == 0, errors
    assert said.splitlines() == ["core_unavailable True True"] * 5 + ["3 torch.Size([2, 4])"]


def test_a_future_from_before_a_fork_is_a_clear_error_in_the_child_and_no_hang():
    """Also where another thread had its lock when the process forked; and what it calls back is the parent's."""
    code = slow(100) + """
import concurrent.futures
done = quick.submit(torch.rand(3, 4))
done.result()
future, cancelled, called = slow.submit(torch.rand(32, 256, 256)), slow.submit(torch.rand(32, 256, 256)), []
future.add_done_callback(lambda f: called.append(os.getpid()))
cancelled.cancel()

def hold():
    with future._condition:
        time.sleep(1)

holder = threading.Thread(target=hold)
holder.start()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends it where it hangs
    for use in (future.result, lambda: future.result(5), lambda: slow.submit(torch.rand(1, 256, 256)).result()):
        try:
            print("no error", use())
        except RuntimeError as e:
            print(e.code, "fork" in str(e), str(os.getppid()) in str(e))
    finished, waiting = concurrent.futures.wait([future, done, cancelled], timeout=5)
    print(type(future.exception()).__name__, future.cancel(), len(finished), cancelled.cancelled(), len(done.result()))
    print(called)
    sys.exit(3)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
holder.join()
print(status, future.result().shape[0], called == [os.getpid()], torch_neuron._parallel._waiting)
"""
    status, said, errors = run_python(code)
    assert status == 0, errors
    assert said.splitlines() == ["core_unavailable True True"] * 3 + ["NeuronRuntimeError False 3 True 3", "[]",
                                                                      "3 32 True set()"], (said, errors)


def test_a_fork_before_the_first_data_parallel_has_an_engine_of_its_own():
    code = """
traced = torch_neuron.trace(torch.nn.Linear(4, 4).eval(), torch.rand(2, 4), tune=False)
child = os.fork()
shape = torch.neuron.DataParallel(traced)(torch.rand(5, 4)).shape
if child == 0:
    sys.exit(shape[0])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shape)
"""
    status, said, errors = run_python(code)
    assert (status, said) == (0, "5 torch.Size([5, 4])\n"), errors


def test_a_data_loaders_workers_go_on():
    code = slow(1) + """
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, i):
        return torch.full((4,), float(i))

rows = 0
for batch in torch.utils.data.DataLoader(Data(), batch_size=4, num_workers=2):
    rows += len(quick(batch))
print(rows)
"""
    status, said, errors = run_python(code)
    assert (status, said) == (0, "32\n"), errors


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

for _ in range(4):
    slow.submit(torch.rand(3, 256, 256)).add_done_callback(again)
""",
    "exception": "fs = [slow.submit(torch.rand(3, 256, 256)) for _ in range(20)]\nraise SystemExit(0)",
    "nothing": "del slow",
}


@pytest.mark.parametrize("what", ENDS)
def test_the_interpreter_ends_cleanly_with_calls_in_flight(what):
    status, said, errors = run_python(slow(10) + ENDS[what] + "\n")
    lines = [line for line in errors.splitlines() if "draining" not in line]  # refused callbacks are told of
    assert status == 0, (status, errors)
    assert not any("terminate" in line or "Fatal" in line or "core dumped" in line for line in lines), errors


def test_a_call_after_the_end_is_refused():
    late = """
import atexit
late = []
atexit.register(lambda: late[0]())
""" + "import torch, torch_neuron, sys\n" + slow(1) + """
def use():
    try:
        quick(torch.rand(2, 4))
    except RuntimeError as e:
        print(e.code)

late.append(use)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", late], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "draining\n"), done.stderr


def test_inputs_are_not_copied_and_are_let_go_of():
    """Ten calls over 64 MiB: were inputs copied or kept, resident memory would show it."""
    code = """
import resource
class First(torch.nn.Module):
    def forward(self, x):
        return x[:, :1] + 0
parallel = torch.neuron.DataParallel(torch_neuron.trace(First(), torch.rand(64, 4096), tune=False))
x = torch.rand(4096, 4096)
parallel(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(10):
    parallel(x)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
import weakref
class Owner(bytearray): pass
owner = Owner(64 << 20)
alive = weakref.ref(owner)
y = torch.frombuffer(owner, dtype=torch.float32).view(4096, 4096)
del owner
f = parallel.submit(y)
del y
f.result(); del f
end = time.monotonic() + 10
while alive() is not None and time.monotonic() < end:
    time.sleep(0.01)
print(alive() is None)
"""
    status, said, errors = run_python(code)
    grown, gone = said.split()
    assert status == 0 and int(grown) < 32 and gone == "True", (said, errors)
