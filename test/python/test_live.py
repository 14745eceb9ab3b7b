"""What can be set when a DataParallel is made, and a model that takes the place of another while calls run."""

import json
import os
import threading

import pytest
import torch
import torch_neuron
from conftest import alone, quiet, run_python, status_at_rest, trace


class Scaled(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.register_buffer("factor", torch.tensor(float(factor)))

    def forward(self, x):
        return x * self.factor


def same(given, wanted):
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


def test_a_model_takes_the_place_of_another_while_calls_run():
    """Every answer is wholly one model's, none fails, and those after replace() are the new one's."""
    models = [trace(Scaled(factor), torch.rand(4, 3)) for factor in range(1, 6)]
    wrong, stop = [], threading.Event()
    with torch.neuron.DataParallel(models[0]) as parallel:

        def call():
            x = torch.ones(50, 3)
            while not stop.is_set():
                try:
                    values = parallel(x).unique().tolist()
                except Exception as e:
                    values = e
                if values not in ([1.0], [2.0], [3.0], [4.0], [5.0]):
                    wrong.append(values)
                    return

        threads = [threading.Thread(target=call) for _ in range(3)]
        for t in threads:
            t.start()
        for factor, model in enumerate(models[1:], 2):
            parallel.replace(model)
            assert parallel.module is model
            same(parallel(torch.ones(7, 3)), torch.full((7, 3), float(factor)))
        stop.set()
        for t in threads:
            t.join()
        parallel.num_workers = 3
        parallel.replace(models[0])
        assert parallel.num_workers == 3
    assert not wrong


def test_a_model_that_cannot_take_the_place_is_refused_and_the_old_one_serves_on(error_of):
    model = Scaled(2)
    with torch.neuron.DataParallel(trace(model, torch.rand(4, 3))) as parallel:

        class Mixing(torch.nn.Module):
            def forward(self, x):
                return x - x.mean(0)

        class Dict(torch.nn.Module):
            def forward(self, x):
                return {"a": x, "b": (x,)}

        refused = lambda kind, new: error_of(kind, parallel.replace, new).code
        assert refused(ValueError, trace(model, torch.rand(4, 5))) == "shape_mismatch"
        assert refused(ValueError, trace(Dict(), torch.rand(4, 3))) == "shape_mismatch"
        assert refused(RuntimeError, quiet(trace, Mixing(), torch.rand(4, 3))[0]) == "unsupported_model"
        assert refused(RuntimeError, torch.jit.script(model)) == "model_load_failed"
        assert refused(TypeError, model) == "invalid_argument"
        same(parallel(torch.ones(5, 3)), torch.full((5, 3), 2.0))
    assert refused(RuntimeError, trace(model, torch.rand(4, 3))) == "draining"


def test_structures_stay_when_a_model_is_replaced(error_of):
    class Named(torch.nn.Module):
        def __init__(self, factor, constant=1):
            super().__init__()
            self.factor, self.constant = factor, constant

        def forward(self, x):
            return {"out": x * self.factor, "constant": self.constant}

    first, second, other = (quiet(trace, Named(*n), torch.rand(2, 3))[0] for n in ((2,), (3,), (2, 5)))
    with torch.neuron.DataParallel(first) as parallel:
        parallel.replace(second)
        x = torch.rand(5, 3)
        answer = parallel(x)
        same(answer["out"], x * 3)
        assert answer["constant"] == 1
        assert error_of(ValueError, parallel.replace, other).code == "shape_mismatch"


def test_a_model_whose_arguments_have_other_names_or_defaults_is_refused(error_of):
    """Else a call by name that comes while models are replaced could give the one what is meant for the other."""

    class First(torch.nn.Module):
        def forward(self, x, y):
            return x - y

    class Second(torch.nn.Module):
        def forward(self, y, x):
            return x - y

    class Structured(torch.nn.Module):
        def forward(self, x, y):
            return {"out": x - y, "rest": (x,)}

    class Renamed(torch.nn.Module):
        def forward(self, y, x):
            return {"out": x - y, "rest": (x,)}

    class Twice(torch.nn.Module):
        def forward(self, x, y: float = 2.0):
            return x - y

    class Thrice(torch.nn.Module):
        def forward(self, x, y: float = 3.0):
            return x - y

    x, y = torch.rand(5, 3), torch.rand(5, 3)
    pairs = [(First, Second, y, "(y, x)"), (Structured, Renamed, y, "(y, x)"), (Twice, Thrice, 2.0, "(x, y=3.0)")]
    for old, new, second, named in pairs:
        with torch.neuron.DataParallel(trace(old(), x, second)) as parallel:
            module, wanted = parallel.module, parallel(y=second, x=x)
            e = error_of(ValueError, parallel.replace, trace(new(), x, second))
            assert e.code == "shape_mismatch" and named in str(e)
            assert parallel.module is module
            torch.testing.assert_close(parallel(y=second, x=x), wanted)


# Ctrl-C comes when the new model is at its first execution on a core, which ends after it.
INTERRUPTED = """
sys.path.insert(0, %r)
import spy
class Model(spy.Spied):
    def __init__(self, factor):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))
    def forward(self, x):
        return super().forward(x) * self.factor

first, second = (torch_neuron.trace(Model(f), torch.rand(1, 4), tune=False) for f in (1.0, 2.0))
parallel = torch.neuron.DataParallel(first)
x, begun, interrupted = torch.ones(16, 4), [], threading.Event()

def execution(chunk):
    begun.append(chunk)
    if len(begun) == 1:
        os.kill(os.getpid(), signal.SIGINT)
    interrupted.wait(60)

with spy.told_to(execution):
    try:
        parallel.replace(second)
    except KeyboardInterrupt:
        print("interrupted", parallel.module is second)
        interrupted.set()
    end = time.monotonic() + 60
    while parallel(x).unique().tolist() != [2.0] and time.monotonic() < end:
        pass
print(parallel(x).unique().tolist(), parallel.module is second)
""" % os.path.dirname(__file__)


def test_after_ctrl_c_the_module_is_the_one_that_takes_its_place_all_the_same():
    status, said, errors = run_python(INTERRUPTED, cores="16")
    assert (status, said) == (0, "interrupted True\n[2.0] True\n"), (said, errors)


def test_rows_of_calls_that_wait_go_together_after_a_delay(rows_traced, rows_model):
    """Four calls of one row on a model for 4 rows: one execution, as soon as the last of them is there."""
    with torch.neuron.DataParallel(rows_traced, device_ids=[0], max_queue_delay=60) as parallel:
        parallel(torch.rand(4, 4))
        before = status_at_rest().cores[0].executions
        xs = [torch.rand(1, 4) for _ in range(4)]
        futures = [parallel.submit(x) for x in xs]
        for x, future in zip(xs, futures):
            same(future.result(30), alone(rows_model, x))
        assert status_at_rest().cores[0].executions == before + 1


def test_without_split_size_rows_of_several_calls_go_together_again(rows_traced, rows_model):
    """What was set meanwhile stays, and what was warned of."""
    options = {"device_ids": [0], "max_queue_delay": 60, "split_size": 1}
    with torch.neuron.DataParallel(rows_traced, **options) as parallel:
        parallel(torch.rand(4, 4))
        parallel.num_workers = 3
        assert work_of(lambda: four_calls(parallel, rows_model)) == 4
        parallel.split_size = None
        assert (parallel.split_size, parallel.num_workers, parallel.dynamic_batching) == (None, 3, True)
        assert work_of(lambda: four_calls(parallel, rows_model)) == 1
        parallel.split_size = 1
        parallel.replace(parallel.module)
        assert work_of(lambda: four_calls(parallel, rows_model)) == 4
        parallel.split_size = None
        assert work_of(lambda: four_calls(parallel, rows_model)) == 1
    with torch.neuron.DataParallel(rows_traced, split_size=2) as parallel:
        quiet(parallel, torch.rand(1, 4))
        said = parallel.warnings
        parallel.disable_dynamic_batching()
        parallel.split_size = None
        assert said and parallel.warnings[: len(said)] == said and not parallel.dynamic_batching


def work_of(call):
    before = status_at_rest().cores[0].executions
    call()
    return status_at_rest().cores[0].executions - before


def four_calls(parallel, model):
    xs = [torch.rand(1, 4) for _ in range(4)]
    futures = [parallel.submit(x) for x in xs]
    for x, future in zip(xs, futures):
        same(future.result(30), alone(model, x))


def test_a_split_size_that_is_unset_while_models_are_replaced_loses_none():
    models = [trace(Scaled(factor), torch.rand(4, 3)) for factor in (1, 2)]
    with torch.neuron.DataParallel(models[0]) as parallel:

        def unset():
            for _ in range(20):
                parallel.split_size = 3
                parallel.split_size = None

        thread = threading.Thread(target=unset)
        thread.start()
        for i in range(30):
            parallel.replace(models[i % 2])
            same(parallel(torch.ones(7, 3)), torch.full((7, 3), float(i % 2 + 1)))
        thread.join()
        assert parallel.split_size is None


class RoundedBySize(torch.nn.Module):
    """Times two, with bits that depend on how many rows run together, by no more than rounding does."""

    def forward(self, x):
        return x * (2.0 + 1e-6 * float(x.size(0)))


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_answers_have_the_same_bits_whatever_the_size(deterministic):
    model = torch.jit.script(RoundedBySize().eval())
    examples = [torch.rand(rows, 4) for rows in (16, 1, 3)]
    traced = torch_neuron.trace(model, examples[0], more_examples=examples[1:], tune=False)
    x = torch.rand(33, 4)
    with torch.neuron.DataParallel(traced, deterministic=deterministic) as parallel:
        whole = parallel(x)
        alike = all(torch.equal(parallel(x[i : i + 1]), whole[i : i + 1]) for i in range(33))
    assert alike == deterministic


@pytest.mark.parametrize(
    "options, kind",
    [
        ({"max_queue_delay": -1}, ValueError),
        ({"max_queue_delay": float("nan")}, ValueError),
        ({"max_queue_delay": "1"}, TypeError),
        ({"ageing": -0.5}, ValueError),
        ({"ageing": True}, TypeError),
        ({"pad_values": "0"}, TypeError),
        ({"pad_values": [0, None]}, TypeError),
        ({"num_workers": 2**70}, ValueError),
        ({"dim": -(2**70)}, ValueError),
        ({"split_size": 0}, ValueError),
    ],
)
def test_settings_that_cannot_be_are_refused(rows_traced, error_of, options, kind):
    e = error_of(kind, torch.neuron.DataParallel, rows_traced, **options)
    assert e.code == "invalid_argument" and next(iter(options)) in str(e)


def test_settings_of_a_request_that_cannot_be_are_refused(rows_parallel, error_of):
    for options in ({"priority": 1}, {"tenant": None}, {"timeout": "1"}, {"timeout": True}):
        e = error_of(TypeError, rows_parallel.submit, torch.rand(1, 4), **options)
        assert next(iter(options)) in str(e)


def test_ageing_and_no_delay_are_taken(rows_traced, rows_model):
    x = torch.rand(9, 4)
    for options in ({"ageing": 0}, {"ageing": 1e12, "max_queue_delay": 0.001}, {"ageing": None, "pad_values": None}):
        with torch.neuron.DataParallel(rows_traced, **options) as parallel:
            same(parallel(x), alone(rows_model, x))


# --- the engine of the process -------------------------------------------------------------------------------

CONFIGURED = """
traced = torch_neuron.trace(torch.nn.Linear(4, 4).eval(), torch.rand(2, 4), tune=False)
torch_neuron.configure(host_cores=7, idle_spin=2)
try:
    torch.neuron.DataParallel(traced)
except ValueError as e:
    print(str(e).splitlines()[0])
torch_neuron.configure(host_cores=3, max_queued_rows=64, max_queue_time=60, max_execution_time=30.5, pin=False,
                       idle_spin=0.0001, trace_out=sys.argv[1])
with torch.neuron.DataParallel(traced) as parallel:
    print(parallel.device_ids, parallel(torch.rand(9, 4)).shape[0])
try:
    torch_neuron.configure(host_cores=2)
except ValueError as e:
    print(e.code)
"""


def test_the_engine_is_made_as_configured(tmp_path):
    path = tmp_path / "timeline.json"
    status, said, errors = run_python(CONFIGURED, str(path))
    assert status == 0, errors
    refused, *rest = said.splitlines()
    assert "idle_spin is 2000000000 ns, but must be from 0 to 1000000000 ns" in refused
    assert rest == ["[0, 1, 2] 9", "invalid_argument"]
    text = path.read_text()
    events = json.loads(text if text.rstrip().endswith("]") else text.rstrip().rstrip(",") + "]")
    assert any(event.get("args", {}).get("rows") for event in events)


@pytest.mark.parametrize(
    "options, kind",
    [
        ({"host_cores": -1}, ValueError),
        ({"host_cores": 1.5}, TypeError),
        ({"cpus": [2**40]}, ValueError),
        ({"max_queue_time": -1}, ValueError),
        ({"max_execution_time": "1"}, TypeError),
        ({"trace_out": 3}, TypeError),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(error_of, options, kind):
    assert next(iter(options)) in str(error_of(kind, torch_neuron.configure, **options))
