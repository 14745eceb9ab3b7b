"""torch.neuron.trace, files, and the names of the packages."""

import copy
import functools
import io
import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import torch
import torch_neuron
import torch_neuronx
from conftest import Rows, alone, quiet, trace

GANGLION = os.environ.get("GANGLION_COMMAND")


sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "benchmark/peers"))
import digits  # noqa: E402


def same(given, wanted, tolerance=1e-4):
    torch.testing.assert_close(given, wanted, rtol=tolerance, atol=tolerance)


def test_torch_neuron_is_this_package():
    import torch.neuron

    assert torch.neuron is torch_neuron and torch.neuron.DataParallel is torch_neuron.DataParallel
    assert torch_neuronx.DataParallel is torch_neuron.DataParallel and torch_neuronx.trace is torch_neuron.trace


def test_a_traced_model_is_a_script_module(rows_model, rows_traced):
    assert isinstance(rows_traced, torch.jit.ScriptModule) and not rows_traced.training
    x = torch.rand(6, 4)
    same(rows_traced(x), alone(rows_model, x))
    same(rows_traced.linear.weight, rows_model.linear.weight)
    assert list(rows_traced.state_dict()) == list(rows_model.state_dict())


@pytest.mark.parametrize("how", ["torch.jit.save", "save", "buffer", "copy", "deepcopy"])
def test_a_model_still_knows_its_shape_however_it_was_copied(rows_model, rows_traced, tmp_path, how):
    path = str(tmp_path / "m.pt")
    if how == "torch.jit.save":
        torch.jit.save(rows_traced, path)
        again = torch.jit.load(path)
    elif how == "save":
        rows_traced.save(path)
        again = torch.jit.load(path)
    elif how == "buffer":
        buffer = io.BytesIO()
        torch.jit.save(rows_traced, buffer)
        buffer.seek(0)
        again = torch.jit.load(buffer)
    else:
        again = getattr(copy, how)(rows_traced)
    x = torch.rand(11, 4)
    same(torch.neuron.DataParallel(again)(x), alone(rows_model, x))


def test_what_was_found_out_outlives_torch_jit_save(tmp_path):
    traced = trace(Rows(), torch.rand(4, 4), auto_cast="bf16")
    torch.jit.save(traced, str(tmp_path / "m.pt"))
    restored = torch_neuron._engine.restore(torch.jit.load(str(tmp_path / "m.pt"))._c)
    assert traced._compiled().recipe.endswith("+bf16") and restored.recipe == traced._compiled().recipe
    assert restored.content_hash == traced._compiled().content_hash


def test_a_module_that_was_changed_since_is_refused(rows_traced, tmp_path, error_of):
    torch.jit.save(rows_traced, str(tmp_path / "m.pt"))
    loaded = torch.jit.load(str(tmp_path / "m.pt"))
    with torch.no_grad():
        loaded.linear.weight.zero_()
    assert error_of(RuntimeError, torch.neuron.DataParallel, loaded).code == "model_load_failed"


@pytest.mark.parametrize("how", [lambda m: m.weight.zero_(), lambda m: m.half(), lambda m: m.load_state_dict(
    {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)})])
def test_weights_that_were_changed_since_are_refused(error_of, how):
    traced = trace(torch.nn.Linear(4, 3), torch.rand(2, 4))
    with torch.no_grad():
        how(traced)
    e = error_of(RuntimeError, torch.neuron.DataParallel, traced)
    assert e.code == "model_load_failed" and "changed" in str(e)


@pytest.mark.skipif(not GANGLION, reason="GANGLION_COMMAND names no program")
def test_the_file_runs_under_the_command(rows_model, rows_traced, tmp_path):
    files = {name: str(tmp_path / f"{name}.pt") for name in ("model", "x", "y")}
    x = torch.rand(9, 4)
    torch.jit.save(rows_traced, files["model"])
    torch.save(x, files["x"])
    subprocess.run([GANGLION, "run", files["model"], "--input", files["x"], "--output", files["y"]], check=True)
    same(torch.load(files["y"]), alone(rows_model, x))


def test_weights_are_shared_and_settings_are_not(rows_traced):
    first, second = (torch.jit._recursive.wrap_cpp_module(rows_traced._compiled().module()) for _ in range(2))
    assert first.linear.weight.data_ptr() == second.linear.weight.data_ptr() == rows_traced.linear.weight.data_ptr()
    first.train()
    assert not second.training and not second.linear.training


def test_a_function_can_be_traced():
    def add(x, y):
        return x + 2 * y

    parallel = torch.neuron.DataParallel(torch_neuron.trace(add, (torch.rand(2, 3), torch.rand(2, 3)), tune=False))
    x, y = torch.rand(5, 3), torch.rand(5, 3)
    same(parallel(x, y=y), x + 2 * y)


@pytest.mark.parametrize("function", [torch.relu, torch.Tensor.relu, torch.ops.aten.relu, torch.nn.functional.relu])
def test_a_function_of_torch_can_be_traced(function):
    parallel = torch.neuron.DataParallel(torch_neuron.trace(function, torch.rand(2, 3), tune=False))
    x = torch.rand(5, 3) - 0.5
    same(parallel(x), torch.relu(x))


def test_a_function_written_in_c_has_its_arguments_checked_by_itself(error_of):
    traced = torch_neuron.trace(torch.softmax, torch.rand(2, 3), example_kwarg_inputs={"dim": 1}, tune=False)
    x = torch.rand(5, 3)
    same(torch.neuron.DataParallel(traced)(x, dim=1), x.softmax(1))
    e = error_of(RuntimeError, torch_neuron.trace, torch.relu, (torch.rand(2, 3), torch.rand(2, 3)), tune=False)
    assert e.code == "forward_failed" and "relu()" in str(e)


def test_a_script_function_can_be_traced():
    @torch.jit.script
    def function(x, y, scale: float = 2.0):
        return scale * x - y

    x, y = torch.rand(5, 3), torch.rand(5, 3)
    parallel = torch.neuron.DataParallel(torch_neuron.trace(function, (x[:2], y[:2]), tune=False))
    same(parallel(y=y, x=x), 2 * x - y)


def test_what_is_neither_a_module_nor_a_function_is_a_type_error(error_of):
    for func in (3, torch.nn.Linear, None, "model"):
        e = error_of(TypeError, torch_neuron.trace, func, torch.rand(2, 3))
        assert e.code == "invalid_argument" and type(func).__name__ in str(e)


def test_in_inference_mode_models_are_traced_loaded_and_run(tmp_path, error_of):
    with torch.inference_mode():
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).eval()
        traced = trace(model, torch.rand(2, 4))
        torch.jit.save(traced, str(tmp_path / "m.pt"))
        x = torch.rand(5, 4)
        for kept in (traced, torch.jit.load(str(tmp_path / "m.pt")), copy.deepcopy(traced)):
            same(torch.neuron.DataParallel(kept)(x), model(x))
        traced.half()  # what it puts in the place of buffers are inference tensors, which count no changes
        assert "changed" in str(error_of(RuntimeError, torch.neuron.DataParallel, traced))
    same(torch.neuron.DataParallel(torch.jit.load(str(tmp_path / "m.pt")))(x), alone(model, x))


def test_a_script_module_can_be_traced(rows_model):
    x = torch.rand(7, 4)
    same(torch.neuron.DataParallel(trace(torch.jit.script(rows_model), torch.rand(2, 4)))(x), alone(rows_model, x))


def test_bf16_keeps_the_dtypes(rows_model):
    x = torch.rand(7, 4)
    given = torch.neuron.DataParallel(trace(rows_model, torch.rand(2, 4), auto_cast="bf16"))(x)
    assert given.dtype == torch.float32
    same(given, alone(rows_model, x), 5e-2)


@pytest.mark.parametrize("owner", ["module", "other method"])
def test_a_method_of_a_module_can_be_traced(rows_model, owner):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = rows_model

        def forward(self, x):
            return self.rows(x)

        def twice(self, x):
            return 2 * self.rows(x)

    model = Model().eval()
    method, factor = (model.forward, 1) if owner == "module" else (model.twice, 2)
    x = torch.rand(7, 4)
    same(torch.neuron.DataParallel(torch_neuron.trace(method, torch.rand(2, 4), tune=False))(x), factor * model(x))


# --- what is there for Neuron's compiler ---------------------------------------------------------------------


GRANTED = {
    "fallback": [True, False],
    "dynamic_batch_size": [True, False],
    "separate_weights": [True, False],
    "inline_weights_to_neff": [True, False],
    "cpu_backend": [True, False],
    "strict": [True, False],
    "check_trace": [True, False],
}
WITHOUT_EFFECT = {
    "compiler_args": ["--fast-math", "none"],
    "compiler_workdir": "./work",
    "compiler_timeout": 60,
    "optimizations": [torch_neuron.Optimization.FLOAT32_TO_FLOAT16],
    "verbose": "INFO",
    "skip_compiler": True,
    "op_whitelist": ["aten::add"],
    "minimum_segment_size": 2,
    "single_fusion_ratio_threshold": 0.6,
    "subgraph_builder_function": lambda node: "Conv" in node.name,
    "subgraph_inputs_pruning": True,
    "debug_must_trace": True,
    "allow_no_ops_on_neuron": True,
    "partitioner_config": {"min_subgraph_size": 5},
}


@pytest.mark.parametrize("name", GRANTED)
def test_what_holds_here_anyway_may_be_given(rows_model, name):
    for value in GRANTED[name]:
        traced, said = quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), tune=False, **{name: value})
        assert said == []
        same(traced(torch.rand(0, 4) + 1), alone(rows_model, torch.rand(0, 4) + 1))


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_has_no_effect_here_is_mentioned(rows_model, name):
    traced, said = quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), tune=False, **{name: WITHOUT_EFFECT[name]})
    assert len(said) == 1 and name in said[0] and "without effect" in said[0]
    x = torch.rand(5, 4)
    same(torch.neuron.DataParallel(traced)(x), alone(rows_model, x))


def test_all_that_has_no_effect_is_one_warning_and_nothing_is_none(rows_model):
    _, said = quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), tune=False, **WITHOUT_EFFECT)
    assert len(said) == 1 and all(name in said[0] for name in WITHOUT_EFFECT)
    nothing = dict.fromkeys(WITHOUT_EFFECT)
    assert quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), tune=False, **nothing)[1] == []


@pytest.mark.parametrize(
    "args",
    [["--neuroncore-pipeline-cores", "4"], ["--neuroncore-pipeline-cores", 4], "--neuroncore-pipeline-cores=4"],
)
def test_a_pipeline_can_be_called_and_is_refused_by_data_parallel(rows_model, error_of, tmp_path, args):
    traced, said = quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), tune=False, compiler_args=args)
    assert any("Pipeline of 4 cores" in sentence for sentence in said)
    x = torch.rand(2, 4)
    same(traced(x), alone(rows_model, x))
    torch.jit.save(traced, str(tmp_path / "m.pt"))
    for model in (traced, torch.jit.load(str(tmp_path / "m.pt"))):
        e = error_of(RuntimeError, torch.neuron.DataParallel, model)
        assert e.code == "unsupported_model" and "4 cores" in str(e)


def test_a_pipeline_of_one_core_is_none(rows_model):
    options = {"compiler_args": ["--neuroncore-pipeline-cores", "1"], "tune": False}
    traced, _ = quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), **options)
    assert torch.neuron.DataParallel(traced)(torch.rand(3, 4)).shape == (3, 3)


def test_options_that_cannot_be_are_refused(rows_model, error_of):
    def refused(kind, **options):
        return error_of(kind, torch_neuron.trace, rows_model, torch.rand(2, 4), **options)

    assert refused(RuntimeError, input_output_aliases={torch.rand(1): 0}).code == "unsupported_model"
    assert "'speed'" in str(refused(TypeError, speed=9))
    assert "many" in str(refused(ValueError, compiler_args=["--neuroncore-pipeline-cores", "many"]))
    assert "compiler_args" in str(refused(TypeError, compiler_args=7))
    assert "list" in str(refused(TypeError, more_examples=torch.rand(4, 4)))
    for wrong in ("a", True, [0.1]):
        assert "check_tolerance is a " in str(refused(TypeError, check_tolerance=wrong))
    for wrong in (-1, -1e-9, float("nan")):
        assert "at least 0" in str(refused(ValueError, check_tolerance=wrong))


def test_analyze_model_counts_operators(rows_model, capsys):
    counts = torch.neuron.analyze_model(rows_model, example_inputs=[torch.rand(1, 4)])
    said = capsys.readouterr().out
    assert counts["aten::linear"] == 1 and counts["aten::relu"] == 1
    assert "1 aten::linear" in said and "100.00%" in said


def test_programs_in_bf16_are_compared_on_what_is_given_for_calibration(error_of):
    def trace_it(**options):
        model = torch.nn.Linear(4, 3).eval()
        return torch_neuron.trace(model, torch.rand(2, 4), auto_cast="bf16", tune=False, **options)

    trace_it(calibration=[torch.rand(9, 4), (torch.rand(2, 4),)], max_deviation=0.1)
    e = error_of(RuntimeError, trace_it, max_deviation=1e-9)
    assert e.code == "unsupported_model" and "deviation" in str(e)
    assert "calibration" in str(error_of(ValueError, trace_it, calibration=[torch.rand(9, 5)]))
    assert "calibration" in str(error_of(TypeError, trace_it, calibration=torch.rand(9, 4)))
    for bad, kind in (({"max_deviation": "1"}, TypeError), ({"threads": -1}, ValueError), ({"threads": 0}, ValueError)):
        assert next(iter(bad)) in str(error_of(kind, trace_it, **bad))


def test_extra_files_are_saved_as_well(rows_traced, tmp_path):
    rows_traced.save(str(tmp_path / "m.pt"), _extra_files={"names.txt": "cat"})
    files = {"names.txt": ""}
    torch.neuron.DataParallel(torch.jit.load(str(tmp_path / "m.pt"), _extra_files=files))
    assert files["names.txt"] == b"cat"


# --- several examples ----------------------------------------------------------------------------------------


class Lengths(torch.nn.Module):
    """[rows, length, 3] and a mask: what is masked counts for nothing."""

    def forward(self, x, mask):
        y = x * mask.unsqueeze(2)
        return y + 1, y.sum((1, 2))


def lengths(rows, length):
    return torch.rand(rows, length, 3), torch.ones(rows, length)


def test_several_batch_sizes_are_programs_of_one_model(rows_model, tmp_path):
    traced = torch_neuron.trace(
        rows_model, torch.rand(4, 4), more_examples=[torch.rand(1, 4), (torch.rand(16, 4),)], tune=False
    )
    assert traced._compiled().program_count == 3
    torch.jit.save(traced, str(tmp_path / "m.pt"))
    for model in (traced, torch.jit.load(str(tmp_path / "m.pt"))):
        with torch.neuron.DataParallel(model, device_ids=[0]) as parallel:
            before = torch_neuron.status().cores[0].executions
            for rows in (1, 4, 16, 21):
                x = torch.rand(rows, 4)
                same(parallel(x), alone(rows_model, x))
            parallel.disable_dynamic_batching()  # any of the compiled sizes, and no other
            assert parallel(torch.rand(16, 4)).shape == (16, 3)
            with pytest.raises(ValueError):
                parallel(torch.rand(3, 4))


def test_shorter_inputs_are_padded_to_the_next_length_and_answers_trimmed(error_of):
    model = Lengths()
    traced = torch_neuron.trace(model, lengths(2, 8), more_examples=[lengths(2, 4)], tune=False)
    with torch.neuron.DataParallel(traced, pad_values=0) as parallel:
        for length in (1, 3, 4, 5, 8):
            inputs = lengths(5, length)
            for given, wanted in zip(parallel(*inputs), model(*inputs)):
                same(given, wanted)
        assert error_of(ValueError, parallel, *lengths(5, 9)).code == "shape_mismatch"
    with torch.neuron.DataParallel(traced) as parallel:
        assert parallel(*lengths(3, 4))[1].shape == (3,)
        assert error_of(ValueError, parallel, *lengths(3, 5)).code == "shape_mismatch"


def test_further_examples_of_structures_are_flattened_alike():
    class Model(torch.nn.Module):
        def forward(self, batch, *, scale):
            return {"out": batch["a"] * scale, "rest": [batch["b"][0]]}

    def batch(rows):
        return {"a": torch.rand(rows, 3), "b": [torch.rand(rows, 2)]}

    more = [(batch(8), torch.rand(8, 1))]
    scale = {"scale": torch.rand(2, 1)}
    traced = torch_neuron.trace(Model(), (batch(2),), example_kwarg_inputs=scale, more_examples=more, tune=False)
    assert traced._compiled().program_count == 2
    given, x = batch(19), torch.rand(19, 1)
    answer = torch.neuron.DataParallel(traced)(given, scale=x)
    same(answer["out"], given["a"] * x)
    same(answer["rest"][0], given["b"][0])


class FixedSize(torch.nn.Module):
    """Computes with the number of columns in Python, which a trace keeps as a constant."""

    def forward(self, x):
        return x / float(x.shape[1])


def test_a_trace_that_is_another_function_for_another_example_is_refused(error_of):
    def trace_it(model, *more, **options):
        return torch_neuron.trace(model, torch.rand(2, 4), more_examples=more, tune=False, **options)

    e = error_of(RuntimeError, trace_it, FixedSize(), torch.rand(2, 8))
    assert e.code == "unsupported_model" and "torch.jit.script" in str(e)
    e = error_of(RuntimeError, trace_it, FixedSize(), check_inputs=[(torch.rand(2, 8),)])
    assert e.code == "unsupported_model"
    trace_it(FixedSize(), check_inputs=[(torch.rand(2, 8),)], check_tolerance=100.0)
    traced = trace_it(torch.jit.script(FixedSize()), torch.rand(2, 8))
    x = torch.ones(3, 8)
    same(torch.neuron.DataParallel(traced)(x), x / 8)


def test_further_examples_that_cannot_be_are_refused(rows_model, error_of):
    def trace_it(*more):
        return torch_neuron.trace(rows_model, torch.rand(2, 4), more_examples=more, tune=False)

    assert error_of(ValueError, trace_it, torch.rand(2, 4)).code == "invalid_argument"
    assert error_of(ValueError, trace_it, (torch.rand(3, 4), torch.rand(3, 4))).code == "shape_mismatch"
    assert error_of(RuntimeError, trace_it, torch.rand(3, 5)).code == "forward_failed"
    assert error_of(TypeError, trace_it, object()).code == "invalid_argument"


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x


def test_models_and_examples_that_cannot_be_are_refused(rows_model, error_of):
    assert error_of(RuntimeError, trace, Counting(), torch.rand(2, 4)).code == "unsupported_model"
    assert error_of(RuntimeError, trace, rows_model, torch.rand(2, 5)).code == "forward_failed"
    assert error_of(ValueError, trace, rows_model, torch.rand(0, 4)).code == "invalid_argument"
    assert error_of(ValueError, trace, rows_model).code == "shape_mismatch"
    assert error_of(ValueError, trace, rows_model, torch.rand(2, 4), torch.rand(2, 4)).code == "shape_mismatch"
    assert error_of(ValueError, trace, rows_model, torch.rand(2, 4), auto_cast="fp8").code == "invalid_argument"
    assert error_of(TypeError, torch_neuron.trace, 3, torch.rand(1)).code == "invalid_argument"
    assert error_of(TypeError, torch_neuron.trace, rows_model, torch.rand(2, 4), speed=9).code == "invalid_argument"


WEIGHT = torch.nn.Parameter(torch.full((4, 3), 0.1234))
CONSTANT = torch.full((2, 3, 4), 0.1234)
UNTRACEABLE = {
    "a parameter from outside": lambda x: x @ WEIGHT,
    "a module in a partial": functools.partial(torch.nn.Linear(4, 3)),
    "an answer that no input reaches": lambda x: (x, CONSTANT),
    "with its tensors side by side": lambda x: [(x @ WEIGHT,)],
}


@pytest.mark.parametrize("what", UNTRACEABLE)
def test_what_cannot_be_traced_is_refused_without_the_values_of_tensors(error_of, what):
    e = error_of(RuntimeError, torch_neuron.trace, UNTRACEABLE[what], torch.rand(2, 4), tune=False)
    assert e.code == "unsupported_model" and "cannot be traced: RuntimeError: " in str(e) and "nn.Module" in str(e)
    assert "Cannot insert a Tensor" in str(e) or "output 1 of traced region did not have" in str(e)
    assert isinstance(e.__cause__, RuntimeError) and "0.1234" not in str(e) and "\n" not in str(e)


class Holds(torch.nn.Module):
    """What the sentence about them says to do."""

    def __init__(self):
        super().__init__()
        self.weight = WEIGHT
        self.register_buffer("constant", CONSTANT)

    def forward(self, x):
        return x @ self.weight, self.constant


def test_tensors_that_a_module_holds_can_be_traced():
    x = torch.rand(2, 4)
    for given, wanted in zip(trace(Holds(), x)(x), alone(Holds(), x)):
        same(given, wanted)


class Calls(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x) * x.sum(1, keepdim=True)


def test_a_data_parallel_is_no_part_of_a_trace(rows_parallel, error_of):
    x = torch.rand(4, 4)
    submits = Calls(lambda x: rows_parallel.submit(x).result())
    for func in (rows_parallel, rows_parallel.forward, lambda x: rows_parallel(x) + 1, Calls(rows_parallel), submits):
        for tracing in (torch_neuron.trace, torch_neuron.analyze_model):
            e = error_of(RuntimeError, tracing, func, x)
            assert e.code == "unsupported_model" and "trace the model, then make the DataParallel" in str(e)
    same(submits(x), Calls(rows_parallel)(x))


def test_exceptions_can_be_pickled(error_of, rows_traced):
    e = error_of(ValueError, torch.neuron.DataParallel, rows_traced, device_ids=[99])
    again = pickle.loads(pickle.dumps(e))
    assert type(again) is type(e) and again.code == e.code and str(again) == str(e)


def test_a_data_parallel_is_a_context_manager_and_refuses_calls_after_it(rows_traced, error_of):
    with torch.neuron.DataParallel(rows_traced) as parallel:
        future = parallel.submit(torch.rand(400, 4))
    assert future.result(10).shape == (400, 3)
    for use in (lambda: parallel(torch.rand(1, 4)), lambda: parallel.num_workers, parallel.disable_dynamic_batching):
        assert error_of(RuntimeError, use).code == "draining"
    parallel.close()
    assert "closed" in repr(parallel)


def test_a_data_parallel_cannot_be_copied(rows_parallel, error_of):
    for use in (copy.deepcopy, pickle.dumps):
        error_of(TypeError, use, rows_parallel)


def test_the_digits_model_in_bf16_has_the_classes_of_the_module():
    found = digits.figures()
    assert found["digits"] == 1000 and found["top1_agreement"] >= 0.995 and found["accuracy_bf16"] >= 0.975
