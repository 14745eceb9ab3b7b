"""The arguments of a call: defaults of forward's."""

from typing import Optional

import pytest
import torch
import torch_neuron
from conftest import quiet, trace


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
