"""The arguments of a call: defaults of forward's, names that requests have too, and where errors come from."""

import asyncio
import collections
from typing import Optional

import pytest
import torch
import torch_neuron
from conftest import trace


def same(given, wanted):
    torch.testing.assert_close(given, wanted)


class Masked(torch.nn.Module):
    def forward(self, x, mask=None, bias=None):
        if mask is not None:
            x = x * mask
        return x if bias is None else x + bias


class Scaled(torch.nn.Module):
    def forward(self, x, factor: float = 2.0):
        return x * factor


class Script(torch.nn.Module):
    def forward(self, x, flag: bool = True, y: Optional[torch.Tensor] = None):
        return x if y is None or not flag else x + y


def ways(traced, folder):
    """The traced module, and a DataParallel of it and of its file."""
    torch.jit.save(traced, str(folder / "m.pt"))
    return [traced, torch.neuron.DataParallel(traced), torch.neuron.DataParallel(torch.jit.load(str(folder / "m.pt")))]


def test_a_default_between_two_arguments_may_be_left_out_of_a_call(tmp_path, error_of):
    model, x, bias = Masked(), torch.rand(5, 3), torch.rand(5, 3)
    traced = torch_neuron.trace(model, x, example_kwarg_inputs={"bias": bias}, tune=False)
    for way in ways(traced, tmp_path):
        same(way(x, bias=bias), model(x, bias=bias))
        same(way(bias=bias, x=x), model(x, bias=bias))
        e = error_of(ValueError, way, x)  # its bias is None, which is another program
        assert e.code == "shape_mismatch" and "bias" in str(e)


def test_a_default_at_the_end_may_be_left_out_of_a_call(tmp_path):
    model, x = Scaled(), torch.rand(5, 3)
    for way in ways(trace(model, x, 3.0), tmp_path):
        same(way(x), model(x))
        same(way(x, 5.0), x * 5)
    same(torch.neuron.DataParallel(trace(model, x, 3.0)).submit(x=x).result(), model(x))


def test_a_default_that_is_not_the_examples_constant_is_refused(error_of):
    class Odd(torch.nn.Module):
        def forward(self, x, *, text="2"):
            return x * eval(text)

    x = torch.rand(5, 3)
    traced = torch_neuron.trace(Odd(), x, example_kwarg_inputs={"text": "3"}, tune=False)
    parallel = torch.neuron.DataParallel(traced)
    assert "text is '2'" in str(error_of(ValueError, parallel, x))
    same(parallel(x, text="3"), x * 3)


def test_examples_of_a_script_module_have_its_defaults_between_them(error_of):
    script, x, y = torch.jit.script(Script()), torch.rand(5, 3), torch.rand(5, 3)
    traced = torch_neuron.trace(script, x, example_kwarg_inputs={"y": y}, tune=False)
    parallel = torch.neuron.DataParallel(traced)
    same(parallel(x, y=y), x + y)
    same(parallel(x, False, y), x)
    assert "x, flag=True, y=None" in str(error_of(TypeError, parallel, x, z=y))


@pytest.mark.parametrize("kind", ["a module", "a ScriptModule"])
def test_examples_by_name_are_a_dict_of_names(kind, error_of):
    model, x = (Script() if kind == "a module" else torch.jit.script(Script())).eval(), torch.rand(5, 3)

    def trace_it(kwargs):
        return torch_neuron.trace(model, x, example_kwarg_inputs=kwargs, tune=False)

    for wrong in ([x], (), 5, "flag", x, [("flag", False)]):
        e = error_of(TypeError, trace_it, wrong)
        assert e.code == "invalid_argument" and f"example_kwarg_inputs is a {type(wrong).__name__}: " in str(e)
    assert "has a key of type int" in str(error_of(TypeError, trace_it, {1: x}))
    for right in (None, {}, {"flag": False}, collections.UserDict(flag=False)):  # a tokenizer's are UserDicts
        same(trace_it(right)(x), x)


# --- names that requests have too ------------------------------------------------------------------------------------


class Timed(torch.nn.Module):
    def forward(self, x, timeout: float = 2.0):
        return x * timeout


def test_arguments_with_the_names_of_a_requests_own_are_given_by_position(error_of):
    model, x, tenant = Timed(), torch.rand(5, 3), torch.rand(5, 3)
    parallel = torch.neuron.DataParallel(trace(model, x, 3.0))
    same(parallel(x, timeout=4.0), x * 4)
    same(parallel.submit(x, 4.0, timeout=60).result(), x * 4)
    same(parallel.submit(x).result(), x * 2)
    e = error_of(TypeError, parallel.submit, x, timeout=4.0)  # not silently the request's, and the model's its default
    assert "timeout= is the request's" in str(e) and "(x, timeout=2.0)" in str(e)
    error_of(TypeError, lambda: asyncio.run(parallel.async_forward(x, timeout=4.0)))

    class ByName(torch.nn.Module):
        def forward(self, x, *, tenant):
            return x + tenant

    traced = torch_neuron.trace(ByName(), x, example_kwarg_inputs={"tenant": tenant}, tune=False)
    parallel = torch.neuron.DataParallel(traced)
    same(parallel(x, tenant=tenant), x + tenant)
    same(parallel.submit(x, tenant, tenant="somebody").result(), x + tenant)
    assert "position" in str(error_of(TypeError, parallel.submit, x, tenant=tenant))


# --- where errors come from ------------------------------------------------------------------------------------------


class Structured(torch.nn.Module):
    def forward(self, batch):
        return {"out": batch["x"] + 0, "rest": (batch["x"],)}


def test_a_future_raises_what_does_not_fit_and_submit_what_no_model_takes(rows_parallel, error_of):
    structured = torch.neuron.DataParallel(trace(Structured(), {"x": torch.rand(2, 3)}))
    for parallel, wrong in ((rows_parallel, torch.rand(5, 9)), (structured, {"y": torch.rand(5, 3)})):
        future = parallel.submit(wrong)
        e = future.exception(60)
        assert isinstance(e, ValueError) and e.code == "shape_mismatch" and not future.cancel()
        error_of(TypeError, parallel.submit, wrong, nothing=3)
        assert error_of(ValueError, parallel.submit, wrong, timeout=-1).code == "invalid_argument"
    error_of(TypeError, rows_parallel.submit, object())
    structured.close()
    assert error_of(RuntimeError, structured.submit, {"x": torch.rand(2, 3)}).code == "draining"
