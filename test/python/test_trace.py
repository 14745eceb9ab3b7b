"""torch.neuron.trace, files, and the names of the packages."""

import ast
import copy
import inspect
import io
import os
import pickle
import subprocess

import pytest
import torch
import torch_neuron
import torch_neuronx
from conftest import Rows, alone, quiet, trace

GANGLION = os.environ.get("GANGLION_COMMAND")


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


def test_a_script_module_can_be_traced(rows_model):
    x = torch.rand(7, 4)
    same(torch.neuron.DataParallel(trace(torch.jit.script(rows_model), torch.rand(2, 4)))(x), alone(rows_model, x))


def test_bf16_keeps_the_dtypes(rows_model):
    x = torch.rand(7, 4)
    given = torch.neuron.DataParallel(trace(rows_model, torch.rand(2, 4), auto_cast="bf16"))(x)
    assert given.dtype == torch.float32
    same(given, alone(rows_model, x), 5e-2)


def test_scripts_may_give_the_compilers_arguments(rows_model):
    options = {"compiler_workdir": "w", "compiler_args": ["--fast"], "tune": False}
    _, said = quiet(torch_neuron.trace, rows_model, torch.rand(2, 4), **options)
    assert len(said) == 1 and "--fast" in said[0]


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


def test_help_reads_well():
    for thing in (torch_neuron, torch_neuron.trace, torch_neuron.DataParallel):
        assert len(inspect.getdoc(thing).splitlines()) > 5
    public = [v for k, v in vars(torch_neuron.DataParallel).items() if not k.startswith("_") and k != "extra_repr"]
    assert all(inspect.getdoc(v) for v in public)
    for name in torch_neuron.__all__:
        assert getattr(torch_neuron, name).__doc__


def test_the_stubs_name_what_there_is():
    folder = os.path.dirname(torch_neuron.__file__)
    stub = ast.parse(open(os.path.join(folder, "__init__.pyi")).read())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    imported = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(torch_neuron.__all__) <= set(classes) | functions | imported
    stubbed = {n.name for n in classes["DataParallel"].body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
    stubbed |= {n.target.id for n in classes["DataParallel"].body if isinstance(n, ast.AnnAssign)}
    assert {k for k in vars(torch_neuron.DataParallel) if not k.startswith("_")} - {"extra_repr"} <= stubbed
    assert os.path.exists(os.path.join(folder, "py.typed"))
