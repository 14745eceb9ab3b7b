"""Values of all kinds as arguments and settings: each is taken, or refused with a sentence that names it."""

import math

import numpy
import pytest
import torch
import torch_neuron
from conftest import alone, run_python, trace


def same(given, wanted):
    torch.testing.assert_close(given, wanted)


class Scaled(torch.nn.Module):
    def forward(self, x, factor: float, times: int, text: str):
        return x * factor * times if text == "scale" else x


@pytest.fixture(scope="module")
def scaled():
    with torch_neuron.DataParallel(trace(Scaled(), torch.rand(2, 4), 1.0, 1, "scale")) as parallel:
        yield parallel


# --- tensors whose values are in no memory ---------------------------------------------------------------------------


class Wrapper(torch.Tensor):
    """A tensor that has its values elsewhere."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device=inner.device)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise NotImplementedError


def emptied():
    x = torch.rand(5, 4)
    x.storage().resize_(0)
    return x


def cut():
    x = torch.rand(5, 4)
    x.storage().resize_(19)
    return x


@pytest.mark.parametrize("make", [lambda: Wrapper(torch.rand(5, 4)), emptied, cut])
@pytest.mark.parametrize("how", ["call", "submit"])
def test_a_tensor_without_its_values_is_a_type_error(rows_parallel, error_of, make, how):
    e = error_of(TypeError, rows_parallel if how == "call" else rows_parallel.submit, make())
    assert "x is a tensor [5, 4]" in str(e) and "memory" in str(e)
    assert rows_parallel(torch.rand(5, 4)).shape == (5, 3)


def test_a_tensor_that_only_says_that_it_is_zero_is_zero(rows_parallel, rows_model):
    same(rows_parallel(torch._efficientzerotensor((5, 4))), alone(rows_model, torch.zeros(5, 4)))


# --- containers that never end ----------------------------------------------------------------------------------------

ENDLESS = """
class Model(torch.nn.Module):
    def forward(self, x):
        return x + 0

kinds = {"list": lambda l: l.append(l), "dict": lambda l: l.append({"a": l}), "tuple": lambda l: l.append((l,))}
given = []
if sys.argv[1] == "deep":
    for _ in range(100_000):
        given = [given]
else:
    kinds[sys.argv[1]](given)
parallel = torch.neuron.DataParallel(torch_neuron.trace(Model(), torch.rand(2, 4), tune=False))
script = torch.jit.trace(Model(), torch.rand(2, 4))
for use in (lambda: parallel(given), lambda: parallel.submit(given), lambda: torch_neuron.trace(Model(), (given,)),
            lambda: torch_neuron.trace(script, (given,))):
    try:
        print("no error", use())
    except TypeError as e:
        print(e.code, "contains itself" in str(e))
"""


@pytest.mark.parametrize("kind", ["deep", "list", "dict", "tuple"])
def test_a_container_that_contains_itself_or_is_very_deep_is_a_type_error(kind):
    status, said, errors = run_python(ENDLESS, kind)
    assert (status, said) == (0, "invalid_argument True\n" * 4), (status, said, errors)


# --- numbers and texts ------------------------------------------------------------------------------------------------


def test_scalars_of_numpy_are_numbers(scaled):
    x = torch.rand(5, 4)
    for factor in (numpy.float32(2), numpy.float64(2), numpy.int64(2)):
        same(scaled(x, factor, numpy.int32(3), "scale"), x * 6)
    same(scaled.submit(x, 2.0, 3, numpy.str_("scale"), timeout=numpy.float32(60)).result(), x * 6)


def test_scalars_of_numpy_are_numbers_in_structures_and_examples():
    class Odd(torch.nn.Module):
        def forward(self, x, options):
            return x * eval(repr(options["factor"]))

    x = torch.rand(5, 4)
    for example in (3.0, numpy.float32(3)):
        parallel = torch_neuron.DataParallel(trace(Odd(), x, {"factor": example}))
        for factor in (3.0, numpy.float32(3)):
            same(parallel(x, {"factor": factor}), x * 3)


def test_device_ids_may_be_any_ints(rows_traced, error_of):
    assert torch_neuron.DataParallel(rows_traced, device_ids=numpy.arange(2)).device_ids == [0, 1]
    assert torch_neuron.DataParallel(rows_traced, device_ids=range(2)).device_ids == [0, 1]
    e = error_of(ValueError, torch_neuron.DataParallel, rows_traced, device_ids=["\ud800"])
    assert e.code == "invalid_device_id" and r"\ud800" in str(e)


@pytest.mark.parametrize(
    "args, named",
    [((10**400, 1, "scale"), "factor"), ((1.0, 2**70, "scale"), "times"), ((1.0, 1, "\ud800"), "text")],
)
def test_numbers_and_texts_that_no_model_can_have_are_value_errors(scaled, error_of, args, named):
    e = error_of(ValueError, scaled, torch.rand(5, 4), *args)
    assert e.code == "invalid_argument" and str(e).startswith(named)


def test_settings_that_cannot_be_are_refused_with_their_names(rows_parallel, rows_traced, error_of):
    x = torch.rand(1, 4)
    assert str(error_of(ValueError, rows_parallel, 2**70)).startswith("x is an int")
    for options in ({"timeout": 10**400}, {"tenant": "\ud800"}, {"priority": "\ud800"}):
        assert next(iter(options)) in str(error_of(ValueError, rows_parallel.submit, x, **options))
    e = error_of(ValueError, torch_neuron.DataParallel, rows_traced, max_queue_delay=10**400)
    assert "max_queue_delay" in str(e)
    assert "cpus is a int" in str(error_of(TypeError, torch_neuron.configure, cpus=3))


@pytest.mark.parametrize("name", ["more_examples", "calibration", "check_inputs"])
def test_what_is_no_list_of_examples_is_a_type_error(rows_model, error_of, name):
    for value in (3, torch.rand(2, 4)):
        e = error_of(TypeError, torch_neuron.trace, rows_model, torch.rand(2, 4), **{name: value})
        assert f"{name} is a {type(value).__name__}" in str(e)


def test_an_array_is_no_example(rows_model, error_of):
    e = error_of(TypeError, torch_neuron.trace, rows_model, numpy.zeros((2, 4), "f4"))
    assert "ndarray" in str(e) and "tensor" in str(e)


def test_not_a_number_is_itself_as_a_constant(error_of, tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, batch):
            return {"out": batch["x"] + 0, "nan": math.nan, "rest": (batch["missing"] != batch["missing"],)}

    def batch(rows, missing):
        return {"x": torch.rand(rows, 3), "missing": missing}

    traced = [trace(Odd(), batch(2, float("nan"))) for _ in range(2)]
    torch.jit.save(traced[0], str(tmp_path / "m.pt"))
    for kept in (traced[0], torch.jit.load(str(tmp_path / "m.pt"))):
        parallel = torch_neuron.DataParallel(kept)
        given = batch(5, -math.nan)
        same(parallel(given)["out"], given["x"])
        parallel.replace(traced[1])
        assert "nan" in str(error_of(ValueError, parallel, batch(5, 1.0)))


def test_dim_is_what_it_was_made_with(rows_parallel, error_of):
    e = error_of(ValueError, setattr, rows_parallel, "dim", 1)
    assert e.code == "invalid_argument" and "dim=1" in str(e) and rows_parallel.dim == 0


def test_it_can_be_printed_in_a_fork():
    code = """
parallel = torch.neuron.DataParallel(torch_neuron.trace(torch.nn.Linear(4, 4).eval(), torch.rand(2, 4), tune=False))
child = os.fork()
if child == 0:
    print("core_unavailable, dim=0" in repr(parallel), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("device_ids=[0, 1, 2, 3], dim=0, dynamic_batching=True" in repr(parallel))
"""
    status, said, errors = run_python(code)
    assert (status, said) == (0, "True\nTrue\n"), errors
