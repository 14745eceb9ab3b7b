"""The clauses S1 to S26 of docs/semantics.md, from Python."""

import contextlib
import gc
import json
import threading
import time

import pytest
import spy
import torch
import torch_neuron
from conftest import Conv, Rows, Slow, alone, quiet, run_python, start_python, status_at_rest, trace

CORES_OF = """
try:
    print([c.global_index for c in torch_neuron.status().cores])
except torch_neuron.NeuronError as e:
    print(e.code, e)
"""


def same(given, wanted):
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


def test_s1_a_model_is_replicated_on_its_cores_and_rows_are_distributed(rows_model, rows_traced):
    before = {c.index: c.rows for c in torch_neuron.status().cores}
    with torch.neuron.DataParallel(rows_traced) as parallel:
        x = torch.rand(64, 4)
        same(parallel(x), alone(rows_model, x))
        used = [c.index for c in status_at_rest(parallel.status).cores if c.rows > before[c.index]]
    assert len(used) == 4


def test_s2_without_device_ids_all_cores_of_the_process_are_used(rows_traced):
    assert torch.neuron.DataParallel(rows_traced).device_ids == [0, 1, 2, 3]


def test_s3_device_ids_are_ints_or_names_in_the_order_given(rows_traced):
    assert torch.neuron.DataParallel(rows_traced, ["nc:2", 0, "nc:1"]).device_ids == [2, 0, 1]
    assert torch.neuron.DataParallel(rows_traced, device_ids=(3,)).device_ids == [3]


@pytest.mark.parametrize("bad", [-1, 4, "nc:4", "nc:-1", "NC:0", "cuda:0", "0", "nc:01", 2**40])
def test_s3_what_names_no_visible_core_is_a_value_error(rows_traced, error_of, bad):
    e = error_of(ValueError, torch.neuron.DataParallel, rows_traced, device_ids=[bad])
    assert e.code == "invalid_device_id" and str(bad) in str(e)


def test_s3_duplicates_and_other_types_are_refused(rows_traced, error_of):
    assert error_of(ValueError, torch.neuron.DataParallel, rows_traced, [0, "nc:0"]).code == "invalid_device_id"
    assert error_of(ValueError, torch.neuron.DataParallel, rows_traced, ["nc:0\0"]).code == "invalid_device_id"
    for bad in ([1.0], [None], [True], "nc:0", 3, [torch.device("cpu")]):
        assert "device_ids" in str(error_of(TypeError, torch.neuron.DataParallel, rows_traced, bad))


def test_s4_s5_indices_are_of_the_process_and_16_cores_are_four_chips():
    code = "cs = torch_neuron.status().cores\nprint([(c.chip, c.core) for c in (cs[0], cs[14])], len(cs))"
    assert run_python(code, cores="16")[1].split("\n")[0] == "[(0, 0), (3, 2)] 16"


SEES = """
m = torch_neuron.trace(torch.nn.Linear(2, 2).eval(), torch.rand(1, 2), tune=False)
cs = torch_neuron.status().cores
try:
    torch.neuron.DataParallel(m, device_ids=["nc:14"])
except ValueError as e:
    print(e.code, "nc:14" in str(e), str(len(cs)) in str(e))
print([(c.chip, c.core) for c in (cs[0], cs[-1])], end=" ")
last = torch.neuron.DataParallel(m, device_ids=[f"nc:{len(cs) - 1}"])
print(last(torch.rand(5, 2)).shape[0], flush=True)
input()
print("still", last(torch.rand(6, 2)).shape[0])
"""


def test_s6_two_processes_at_once_see_their_own_cores_from_0():
    of_second = SEES + "print((cs[7].chip, cs[7].core))"
    with start_python(SEES, cores="16", NEURON_RT_VISIBLE_CORES="0-6") as first, \
            start_python(of_second, cores="16", NEURON_RT_VISIBLE_CORES="7-15") as second:
        seen = [[process.stdout.readline() for _ in range(2)] for process in (first, second)]
        # Both are there now, and hold their cores: a third has none of them.
        said = run_python(CORES_OF, cores="16", NEURON_RT_VISIBLE_CORES="6")[1]
        assert said.startswith("core_unavailable") and str(first.pid) in said
        said = run_python(CORES_OF, cores="16", NEURON_RT_VISIBLE_CORES="7")[1]
        assert said.startswith("core_unavailable") and str(second.pid) in said
        rest = [process.communicate("\n", timeout=60)[0] for process in (first, second)]
    assert seen == [["invalid_device_id True True\n", "[(0, 0), (1, 2)] 5\n"],
                    ["invalid_device_id True True\n", "[(1, 3), (3, 3)] 5\n"]]
    assert rest == ["still 6\n", "still 6\n(3, 2)\n"]
    assert first.returncode == second.returncode == 0


def test_s7_visible_cores_are_read_and_bad_text_is_refused():
    assert run_python(CORES_OF, cores="8", NEURON_RT_VISIBLE_CORES="6,0,2-3")[1] == "[6, 0, 2, 3]\n"
    said = run_python(CORES_OF, cores="8", NEURON_RT_VISIBLE_CORES="0-9")[1]
    assert said.startswith("invalid_argument") and "0-9" in said
    assert run_python(CORES_OF, cores="8", NEURON_RT_VISIBLE_CORES="5", NEURON_RT_NUM_CORES="3")[1] == "[5]\n"


def test_s8_a_core_belongs_to_one_process():
    code = """
import subprocess
torch_neuron.status()
print(os.getpid(), flush=True)
subprocess.run([sys.executable, "-c", "import torch_neuron" + sys.argv[1]])
"""
    said = run_python(code, CORES_OF, cores="8", NEURON_RT_VISIBLE_CORES="6")[1].split("\n")
    assert said[1].startswith("core_unavailable") and said[0] in said[1]


@pytest.mark.parametrize("dim", [2, 3, -1, -2])
def test_s9_any_dimension_is_scattered_and_gathered(dim):
    model = Conv()
    parallel, _ = quiet(torch.neuron.DataParallel, trace(model, torch.rand(1, 3, 8, 8)), [0, 1, 2, 3], dim)
    shape = [1, 3, 8, 8]
    shape[dim] = 32
    x = torch.rand(shape)
    same(parallel(x), torch.cat([alone(model, part) for part in x.chunk(4, dim)], dim))


def test_s9_a_dim_that_is_none_is_a_value_error(rows_traced, error_of):
    for dim in (2, -3):
        assert error_of(ValueError, torch.neuron.DataParallel, rows_traced, dim=dim).code == "dim_out_of_range"
    assert error_of(TypeError, torch.neuron.DataParallel, rows_traced, dim="0").code == "invalid_argument"


def test_s10_dynamic_batching_is_on_for_independent_rows_and_off_where_rows_mix(rows_traced):
    assert torch.neuron.DataParallel(rows_traced).dynamic_batching

    class Mixing(torch.nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    parallel, said = quiet(torch.neuron.DataParallel, trace(Mixing(), torch.rand(4, 3)))
    assert not parallel.dynamic_batching and any("row" in sentence for sentence in said)


def test_s11_a_warning_says_why_it_is_off():
    parallel, said = quiet(torch.neuron.DataParallel, trace(Conv(), torch.rand(1, 3, 8, 8)), [0, 1, 2, 3], dim=2)
    assert len(said) == 1 and "dim" in said[0] and parallel.warnings == said
    assert quiet(parallel, torch.rand(1, 3, 32, 8))[1] == []


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 7, 22, 64, 101])
def test_s12_any_number_of_rows_runs_on_the_compiled_size(rows_model, rows_parallel, rows):
    x = torch.rand(rows, 4)
    same(rows_parallel(x), alone(rows_model, x))


def test_s13_without_dynamic_batching_the_formula_must_hold(rows_model, rows_traced, error_of):
    parallel = torch.neuron.DataParallel(rows_traced, device_ids=[0, 1])
    parallel.disable_dynamic_batching()
    x = torch.rand(8, 4)
    same(parallel(x), alone(rows_model, x))
    e = error_of(ValueError, parallel, torch.rand(9, 4))
    assert e.code == "batch_size_mismatch" and "9" in str(e) and "4" in str(e)


def test_s14_disabling_is_for_good_and_resets_nothing_else(rows_traced):
    parallel = torch.neuron.DataParallel(rows_traced, num_workers=3)
    parallel.disable_dynamic_batching()
    parallel.disable_dynamic_batching()
    assert not parallel.dynamic_batching and parallel.num_workers == 3
    assert not torch.neuron.DataParallel(rows_traced, set_dynamic_batching=False).dynamic_batching
    assert torch.neuron.DataParallel(rows_traced, set_dynamic_batching=True).dynamic_batching


def test_s14_calls_in_flight_end_under_the_rule_of_their_beginning():
    with torch_neuron.DataParallel(trace(Slow(), torch.rand(1, 192, 192))) as parallel:
        future = parallel.submit(torch.rand(7, 192, 192))
        parallel.disable_dynamic_batching()
        assert future.result(60).shape == (7, 192, 192)
        with pytest.raises(ValueError) as raised:
            parallel(torch.rand(7, 192, 192))
        assert raised.value.code == "batch_size_mismatch"


def test_s15_what_does_not_fit_a_core_is_core_memory_exceeded():
    code = """
torch_neuron.configure(core_memory_bytes=1000)
traced = torch_neuron.trace(torch.nn.Linear(64, 64).eval(), torch.rand(2, 64), tune=False)
try:
    torch.neuron.DataParallel(traced)
except RuntimeError as e:
    print(e.code, "1000" in str(e))
"""
    assert run_python(code)[:2] == (0, "core_memory_exceeded True\n")


def test_s15_status_counts_the_bytes_of_a_model_on_each_core(rows_traced):
    other = trace(Rows(outputs=50), torch.rand(4, 4))
    with torch.neuron.DataParallel(other) as parallel:
        # Models of the tests before leave their cores while others work.
        end = time.monotonic() + 30
        while (now := parallel.status().cores[0]).models > 1 and time.monotonic() < end:
            gc.collect()
    assert now.models == 1 and now.model_bytes == 4 * 50 * (4 + 1)


def test_s16_a_model_for_a_pipeline_of_several_cores_is_refused(rows_traced, error_of, tmp_path):
    loaded = torch.jit.load(_saved(rows_traced, tmp_path))
    signature = json.loads(loaded.ganglion_signature)
    loaded.ganglion_signature = json.dumps({**signature, "pipeline_cores": 4})
    e = error_of(RuntimeError, torch.neuron.DataParallel, loaded)
    assert e.code == "unsupported_model" and "4 cores" in str(e)


def _saved(module, folder):
    path = str(folder / "model.pt")
    torch.jit.save(module, path)
    return path


def test_s17_a_file_that_torch_wrote_is_read_by_torch(rows_model, rows_traced, tmp_path):
    loaded = torch.jit.load(_saved(rows_traced, tmp_path))
    x = torch.rand(9, 4)
    same(torch.neuron.DataParallel(loaded)(x), alone(rows_model, x))


def test_s18_what_was_never_traced_is_refused(rows_model, error_of):
    e = error_of(RuntimeError, torch.neuron.DataParallel, torch.jit.script(rows_model))
    assert e.code == "model_load_failed" and "torch.neuron.trace" in str(e)
    for value in (rows_model, "model.pt", None):
        assert "traced" in str(error_of(TypeError, torch.neuron.DataParallel, value))


def test_s18_trace_works_on_a_copy_in_eval_mode():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.9))
    traced, said = quiet(torch_neuron.trace, model, torch.rand(2, 4), tune=False)
    assert model.training and model[1].training and not traced.training
    assert any("training mode" in sentence for sentence in said)
    x = torch.rand(6, 4)
    wanted = alone(model, x)
    with torch.no_grad():
        model[0].weight.zero_()
    same(torch.neuron.DataParallel(traced)(x), wanted)


@contextlib.contextmanager
def at_once(counted):
    """Meanwhile each execution takes 20 ms, and the list has how many ran at that moment."""
    running, lock = [0], threading.Lock()

    def execution(chunk):
        with lock:
            running[0] += 1
            counted.append(running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1

    with spy.told_to(execution):
        yield


def test_s19_num_workers_reads_twice_the_cores_and_caps_executions(error_of):
    x = torch.rand(64, 4)
    traced = trace(spy.Spied(), torch.rand(4, 4))
    with torch.neuron.DataParallel(traced) as parallel:
        assert parallel.num_workers == 8
        most = {}
        for cap in (None, 1, 2):
            if cap is not None:
                parallel.num_workers = cap
                assert parallel.num_workers == cap
            counted = []
            with at_once(counted):
                same(parallel(x), x)
            assert len(counted) == 16
            most[cap] = max(counted)
        assert most[1] == 1 and most[2] == 2 and 3 <= most[None] <= 4
        for bad in (0, -1):
            assert error_of(ValueError, setattr, parallel, "num_workers", bad).code == "invalid_argument"
        error_of(TypeError, setattr, parallel, "num_workers", 1.5)
        assert parallel.num_workers == 2
    counted = []
    with torch.neuron.DataParallel(traced, num_workers=1) as parallel, at_once(counted):
        assert parallel.num_workers == 1
        same(parallel(x), x)
    assert max(counted) == 1


def work_of(call):
    """What a call was for the cores: executions, rows of padding, and the rows of each core that had some."""

    def now():
        return [(core.executions, core.padding_rows, core.rows) for core in status_at_rest().cores]

    before = now()
    call()
    work = [[b - a for a, b in zip(*pair)] for pair in zip(before, now())]
    return sum(core[0] for core in work), sum(core[1] for core in work), sorted(core[2] for core in work if core[2])


def test_s20_split_size_is_the_rows_of_a_chunk(rows_traced, rows_model, error_of):
    """22 rows on a model for 4. A chunk runs on one core, whose executions are its rows by 4, the last one padded."""
    x = torch.rand(22, 4)
    with torch.neuron.DataParallel(rows_traced) as parallel:
        assert parallel.split_size is None
        call = lambda: same(parallel(x), alone(rows_model, x))
        assert work_of(call)[:2] == (6, 2)
        for size, executions in ((1, 22), (3, 8), (4, 6), (6, 7), (9, 7), (22, 6), (100, 6)):
            parallel.split_size = size
            assert parallel.split_size == size
            ran, padding, cores = work_of(call)
            assert (ran, padding, sum(cores)) == (executions, 4 * executions - 22, 22)
            if size >= 22:
                assert cores == [22]
            elif size == 9:  # 9, 9 and 4
                assert set(cores) <= {4, 9, 13, 18, 22}
        for bad in (0, -1):
            assert error_of(ValueError, setattr, parallel, "split_size", bad).code == "invalid_argument"
        error_of(TypeError, setattr, parallel, "split_size", 1.5)
        assert parallel.split_size == 100
        parallel.num_workers = 3
        parallel.split_size = None
        assert parallel.split_size is None and parallel.num_workers == 3
        assert work_of(call)[:2] == (6, 2)
        parallel.split_size = None
    with torch.neuron.DataParallel(rows_traced, split_size=3) as parallel:
        assert parallel.split_size == 3 and work_of(call)[:2] == (8, 10)


def test_s20_without_dynamic_batching_split_size_has_no_meaning_and_is_said_so_once(rows_traced):
    with torch.neuron.DataParallel(rows_traced, split_size=1, set_dynamic_batching=False) as parallel:
        said = []
        assert work_of(lambda: said.extend(quiet(parallel, torch.rand(16, 4))[1]))[:2] == (4, 0)
        assert len(said) == 1 and "split_size = 1" in said[0]
        assert quiet(parallel, torch.rand(16, 4))[1] == []


class Two(torch.nn.Module):
    def forward(self, x, y):
        return x + y, x * y


def test_s21_several_inputs_are_scattered_together(error_of):
    parallel = torch.neuron.DataParallel(trace(Two(), torch.rand(2, 3), torch.rand(2, 3)))
    x, y = torch.rand(7, 3), torch.rand(7, 3)
    for given, wanted in zip(parallel(x, y), Two()(x, y)):
        same(given, wanted)
    e = error_of(ValueError, parallel, x, y[:5])
    assert e.code == "shape_mismatch" and "7" in str(e) and "5" in str(e)


def test_s22_chunks_that_differ_are_a_runtime_error(error_of):
    class Columns(torch.nn.Module):
        def forward(self, x):
            return x[:, x[0] > 0]

    parallel, _ = quiet(torch.neuron.DataParallel, trace(torch.jit.script(Columns()), torch.ones(2, 3)), [0, 1])
    x = torch.ones(4, 3)
    x[0, 1] = -1
    e = error_of(RuntimeError, parallel, x)
    assert e.code == "gather_mismatch" and "[2,2]" in str(e) and "[2,3]" in str(e)


def test_s22_outputs_of_no_dimension_become_a_vector():
    class Sum(torch.nn.Module):
        def forward(self, x):
            return x.sum()

    parallel, said = quiet(torch.neuron.DataParallel, trace(Sum(), torch.rand(2, 3)), device_ids=[0, 1])
    given, said_later = quiet(parallel, torch.ones(4, 3))
    same(given, torch.tensor([6.0, 6.0]))
    assert said + said_later


@pytest.mark.parametrize("bad", [torch.rand(3, 5), torch.rand(3, 4, 1), torch.rand(3, 4).double(), torch.rand(4)])
def test_s23_inputs_that_do_not_fit_are_a_value_error(rows_parallel, error_of, bad):
    e = error_of(ValueError, rows_parallel, bad)
    assert e.code == "shape_mismatch" and "f32[4,4]" in str(e)


def test_s23_the_wrong_number_or_kind_of_inputs(rows_parallel, error_of):
    assert error_of(ValueError, rows_parallel).code == "shape_mismatch"
    assert error_of(ValueError, rows_parallel, torch.rand(1, 4), torch.rand(1, 4)).code == "shape_mismatch"
    assert error_of(ValueError, rows_parallel, (torch.rand(1, 4),)).code == "shape_mismatch"
    assert error_of(ValueError, rows_parallel, 3).code == "shape_mismatch"
    assert "x is a object" in str(error_of(TypeError, rows_parallel, object()))


class Lookup(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 3)

    def forward(self, x):
        return self.table(x)


def test_s24_a_chunk_that_fails_fails_its_request_once(error_of):
    parallel = torch.neuron.DataParallel(trace(Lookup(), torch.arange(8).view(2, 4)))
    x = torch.zeros(9, 4, dtype=torch.long)
    x[5] = 99
    e = error_of(RuntimeError, parallel, x)
    assert e.code == "forward_failed" and e.rows[0] <= 5 < e.rows[1] and e.core in range(4)
    assert parallel(torch.zeros(9, 4, dtype=torch.long)).shape == (9, 4, 3)


def test_s25_fewer_rows_than_cores_work_and_idle_cores_are_mentioned_once(rows_traced, rows_model):
    parallel = torch.neuron.DataParallel(rows_traced)
    x = torch.rand(2, 4)
    given, said = quiet(parallel, x)
    same(given, alone(rows_model, x))
    assert len(said) == 1 and quiet(parallel, x)[1] == [] and parallel.warnings == said


@pytest.mark.parametrize("cores", [1, 3, 4])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_s26_results_equal_the_module_run_alone(rows_model, cores, batch):
    parallel = torch.neuron.DataParallel(trace(rows_model, torch.rand(batch, 4)), list(range(cores)))
    for rows in (1, 2, 5, 8, 17):
        x = torch.rand(rows, 4)
        same(quiet(parallel, x)[0], alone(rows_model, x))


def test_s26_inputs_of_any_layout_and_origin_give_the_same_results(rows_model, rows_parallel):
    x = torch.rand(4, 12)
    with torch.inference_mode():
        inference = torch.rand(5, 4)
    for given in (x.t(), x[:, 2:6], torch.rand(1, 4).expand(6, 4), x[::2, :4], x[:, :4].requires_grad_(),
                  torch.nn.Parameter(torch.rand(3, 4)), torch.from_numpy(torch.rand(7, 4).numpy()), inference):
        same(rows_parallel(given), alone(rows_model, given.detach().clone()))


def test_s26_answers_are_the_callers_own(rows_parallel, rows_model):
    x = torch.rand(6, 4)
    kept = x.clone()
    first = rows_parallel(x)
    wanted = first.clone()
    assert not first.requires_grad and not first.is_inference() and first.is_contiguous()
    first.zero_()
    same(rows_parallel(x), wanted)
    assert torch.equal(x, kept)
