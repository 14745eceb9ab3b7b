"""Nested values, keyword arguments and values that are no tensors. Where torch.neuron's page says
"analogous", the rules are those of torch.nn.parallel.scatter_gather: tensors are split along dim, containers
are rebuilt around the parts, everything else goes to each part as it is."""

import collections
import copy
import dataclasses
import enum
import functools
from typing import Dict, List, NamedTuple

import pytest
import torch
import torch_neuron
from conftest import alone, quiet, run_python, trace

Pair = collections.namedtuple("Pair", ["first", "second"])


def scatter(value, parts, dim):
    """torch.nn.parallel.scatter_gather.scatter by hand, for the CPU: a list with one value a part."""
    if isinstance(value, torch.Tensor):
        return list(value.chunk(parts, dim))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [type(value)(*args) for args in zip(*(scatter(v, parts, dim) for v in value))]
    if isinstance(value, tuple) and value:
        return list(zip(*(scatter(v, parts, dim) for v in value)))
    if isinstance(value, list) and value:
        return [list(part) for part in zip(*(scatter(v, parts, dim) for v in value))]
    if isinstance(value, dict) and value:
        return [type(value)(part) for part in zip(*(scatter(item, parts, dim) for item in value.items()))]
    return [value for _ in range(parts)]


def gather(outputs, dim):
    """torch.nn.parallel.scatter_gather.gather by hand."""
    first = outputs[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(outputs, dim)
    if first is None:
        return None
    if dataclasses.is_dataclass(first):
        return type(first)(**{key: gather([o[key] for o in outputs], dim) for key in first})
    if isinstance(first, dict):
        return type(first)((key, gather([o[key] for o in outputs], dim)) for key in first)
    if hasattr(first, "_fields"):
        return type(first)._make(gather(list(part), dim) for part in zip(*outputs))
    if isinstance(first, (tuple, list)):
        return type(first)(gather(list(part), dim) for part in zip(*outputs))
    return first


def same(given, wanted):
    assert type(given) is type(wanted)
    if isinstance(wanted, torch.Tensor):
        torch.testing.assert_close(given, wanted)
    elif isinstance(wanted, dict):
        assert list(given) == list(wanted)
        for key in wanted:
            same(given[key], wanted[key])
    elif isinstance(wanted, (tuple, list)):
        assert len(given) == len(wanted)
        for a, b in zip(given, wanted):
            same(a, b)
    else:
        assert given == wanted


class Tuples(torch.nn.Module):
    def forward(self, x, pair):
        return x + pair[0], (pair[1] * 2, [x, x - 1])


class Dicts(torch.nn.Module):
    def forward(self, batch):
        return {"sum": batch["a"] + batch["b"], "difference": batch["a"] - batch["b"]}


class Mixed(torch.nn.Module):
    def forward(self, x, batch):
        pair = Pair(x + batch["a"].first, batch["l"][0])
        return {"pair": pair, "list": [x, (batch["a"].second,)], "scale": 2, "none": None}


class Ordered(torch.nn.Module):
    def forward(self, x):
        return collections.OrderedDict(logits=x * 2, hidden=(x, x + 1))


@dataclasses.dataclass
class Output(collections.OrderedDict):
    """As the outputs of transformers' models: a dataclass and a dict in one."""

    logits: torch.Tensor = None
    hidden: tuple = None

    def __post_init__(self):
        self.update(logits=self.logits, hidden=self.hidden)


class Transformer(torch.nn.Module):
    def forward(self, x):
        return Output(logits=x * 2, hidden=(x, x + 1))


class Names(torch.nn.Module):
    def forward(self, pair):
        return Pair(pair.first + 1, pair.second * 2)


class Made(torch.nn.Module):
    """Returns what it is told to make."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


#: Containers in a list or a dict, which torch.jit.trace does not take, but for the last three.
NESTED = {
    "a list of a list": lambda x: [[x + 1]],
    "lists of different sizes": lambda x: [[x + 1, x], [x]],
    "a list of dicts": lambda x: [{"a": x, "b": x[:, 0]}, {"a": x + 1, "b": x[:, 1]}],
    "a list of tuples": lambda x: [(x, x + 1), (x, x)],
    "a list in a tuple in a list": lambda x: [([x],), ([x + 1],)],
    "a dict of a list": lambda x: {"a": [x + 1]},
    "a dict of a dict": lambda x: {"a": {"b": x + 1}},
    "a dict of a list of a dict": lambda x: {"a": [{"a": x + 1}]},
    "a dict of a tuple with a list": lambda x: {"a": (x, [x + 1])},
    "a dict of a tuple with a tuple": lambda x: {"a": (x, (x + 1, x))},
    "a list of a list in a tuple": lambda x: ([[x + 1]], x),
    "a list of tuples in a tuple": lambda x: ([(x, x + 1)], x),
    "a dict of a list in a tuple": lambda x: ({"a": [x + 1]}, x),
    "64 lists": lambda x: functools.reduce(lambda inner, _: [inner], range(64), x + 1),
    "64 dicts": lambda x: functools.reduce(lambda inner, _: {"a": inner}, range(64), x + 1),
    "64 tuples": lambda x: functools.reduce(lambda inner, _: (inner,), range(64), x + 1),
    "a list and a dict in a tuple": lambda x: ([x, x + 1], {"b": x}, ((x,),)),
    "dicts of tuples": lambda x: ({"a": (x, x + 1), "b": (x, x)}, {"a": (x,)}),
}


def mixed(rows):
    return torch.rand(rows, 3), {"a": Pair(torch.rand(rows, 3), torch.rand(rows, 2)), "l": [torch.rand(rows, 1)]}


MODELS = {
    "tuples": (Tuples(), lambda rows: (torch.rand(rows, 3), (torch.rand(rows, 3), torch.rand(rows, 2)))),
    "dicts": (Dicts(), lambda rows: ({"a": torch.rand(rows, 3), "b": torch.rand(rows, 3)},)),
    "mixed": (Mixed(), mixed),
    "ordered": (Ordered(), lambda rows: (torch.rand(rows, 3),)),
    "transformer": (Transformer(), lambda rows: (torch.rand(rows, 3),)),
    "named": (Names(), lambda rows: (Pair(torch.rand(rows, 3), torch.rand(rows, 3)),)),
    **{name: (Made(make), lambda rows: (torch.rand(rows, 3),)) for name, make in NESTED.items()},
}


@pytest.mark.parametrize("name", MODELS)
def test_containers_are_scattered_and_gathered_as_torch_does(name):
    model, values = MODELS[name]
    parallel = torch.neuron.DataParallel(quiet(trace, model, *values(2))[0])
    args = values(8)
    wanted = gather([alone(model, *part) for part in scatter(args, 4, 0)], 0)
    same(parallel(*args), wanted)
    same(parallel.submit(*args).result(), wanted)


@pytest.mark.parametrize("name", MODELS)
def test_the_traced_module_is_called_like_the_original(name):
    model, values = MODELS[name]
    args = values(2)
    same(quiet(trace, model, *args)[0](*args), alone(model, *args))


@pytest.mark.parametrize("name", MODELS)
def test_structures_outlive_saving_and_loading(name, tmp_path):
    model, values = MODELS[name]
    torch.jit.save(quiet(trace, model, *values(2))[0], str(tmp_path / "m.pt"))
    parallel = torch.neuron.DataParallel(torch.jit.load(str(tmp_path / "m.pt")))
    args = values(5)
    same(parallel(*args), alone(model, *args))


@pytest.mark.parametrize("name", NESTED)
def test_models_of_several_sizes_return_nested_values(name):
    model, x = MODELS[name][0], torch.rand(7, 3)
    parallel = torch.neuron.DataParallel(trace(model, x[:4], more_examples=[x[:2]]))
    same(parallel(x), model(x))


def test_operators_of_a_model_that_returns_nested_values_are_counted(capsys):
    assert torch.neuron.analyze_model(Made(NESTED["a list of a list"]).eval(), torch.rand(2, 3))["aten::add"] == 1


def test_an_answer_that_is_too_deep_or_contains_itself_is_a_type_error(error_of):
    def itself(x):
        made = [x]
        made.append(made)
        return made

    def deep(x, depth):
        return functools.reduce(lambda inner, _: (inner,), range(depth), x)

    for make in (itself, functools.partial(deep, depth=65), functools.partial(deep, depth=2000)):
        e = error_of(TypeError, trace, Made(make), torch.rand(2, 3))
        assert e.code == "invalid_argument" and "the output[" in str(e) and "contains itself" in str(e)


TRACES_A_LOCAL_CLASS = """
import collections
from typing import NamedTuple

def model():
    class Point(NamedTuple):
        x: torch.Tensor
        y: torch.Tensor

    class Named(dict):
        pass

    class Model(torch.nn.Module):
        def forward(self, x):
            return Named(point=Point(x, x + 1), list=[x])

    return Model()

torch.jit.save(torch_neuron.trace(model(), torch.rand(2, 3), tune=False), sys.argv[1])
"""


def test_a_namedtuple_of_another_process_gets_its_fields_back(tmp_path):
    path = str(tmp_path / "m.pt")
    status, _, errors = run_python(TRACES_A_LOCAL_CLASS, path)
    assert status == 0, errors
    x = torch.rand(5, 3)
    answer = torch.neuron.DataParallel(torch.jit.load(path))(x)
    assert type(answer) is dict and type(answer["point"]).__name__ == "Point"
    same(answer["point"].x, x)
    same(answer["point"].y, x + 1)


# --- classes ------------------------------------------------------------------------------------------------------


class Rows(list):
    pass


class Extents(tuple):
    """Cannot be made from its elements alone."""

    def __new__(cls, low, high):
        return super().__new__(cls, (low, high))


class Entries(dict):
    """Is made neither from a dict nor by its names."""

    def __init__(self, first, second):
        super().__init__(a=first, b=second)


class Key(str, enum.Enum):
    A = "a"


def local_classes():
    """Classes that no module has, two of them with one name."""

    class Pair(NamedTuple):
        left: torch.Tensor
        right: torch.Tensor

    class Named(dict):
        pass

    return Pair, collections.namedtuple("Pair", ["first", "second"]), Named


LOCAL = local_classes()
MAKE = {
    "a local class derived from NamedTuple": lambda x: LOCAL[0](x, x + 1),
    "a namedtuple that has the name of another": lambda x: LOCAL[1](x, x + 1),
    "a local dict": lambda x: LOCAL[2](a=x, b=(x + 1,)),
    "classes within classes": lambda x: LOCAL[2](a=LOCAL[0](x, LOCAL[1](x, x + 1)), b=Rows([x])),
    "a list": lambda x: Rows([x, (x, x + 1)]),
    "a tuple": lambda x: Extents(x, x + 1),
    "a dict with its own constructor": lambda x: Entries(x, x + 1),
    "a defaultdict": lambda x: collections.defaultdict(list, a=x, b=x + 1),
    "a Counter": lambda x: collections.Counter({"a": x, "b": x + 1}),
    "what a function of torch returns": lambda x: (torch.max(x, 1), [x]),
    "keys of a class": lambda x: {Key.A: x},
}


class Passed(Made):
    """Passes on what it is given as well."""

    def forward(self, x, given):
        assert type(given) is type(self.make(x))
        return self.make(x), given


@pytest.mark.parametrize("how", ["traced", "saved and loaded", "copied", "deep-copied"])
@pytest.mark.parametrize("what", MAKE)
def test_containers_of_any_class_are_what_the_model_takes_and_returns(what, how, tmp_path):
    make, x = MAKE[what], torch.rand(5, 3)
    model = Passed(make)
    kept = trace(model, x[:2], make(x[:2]))
    if how == "saved and loaded":
        torch.jit.save(kept, str(tmp_path / "m.pt"))
        kept = torch.jit.load(str(tmp_path / "m.pt"))
    elif how != "traced":
        kept = (copy.copy if how == "copied" else copy.deepcopy)(kept)
        same(kept(x, make(x)), model(x, make(x)))
    parallel = torch.neuron.DataParallel(kept)
    same(parallel(x, make(x)), model(x, make(x)))
    same(parallel.submit(x, make(x)).result(), model(x, make(x)))


def test_keys_keep_their_class():
    x = torch.rand(5, 3)
    traced = trace(Made(MAKE["keys of a class"]), x)
    for answer in (traced(x), torch.neuron.DataParallel(traced)(x)):
        assert list(map(type, answer)) == [Key]


def test_classes_of_one_name_are_told_apart_where_no_file_was_between():
    models = [Passed(lambda x, kind=local_classes()[0]: kind(x, x + 1)) for _ in range(2)]
    x = torch.rand(5, 3)
    traced = [trace(model, x, model.make(x)) for model in models]
    for kept, model in zip(traced, models):
        same(torch.neuron.DataParallel(kept)(x, model.make(x)), model(x, model.make(x)))


def test_a_namedtuple_of_other_fields_is_a_value_error(error_of):
    model, values = MODELS["named"]
    parallel = torch.neuron.DataParallel(trace(model, *values(2)))
    other = collections.namedtuple("Other", ["second", "first"])
    e = error_of(ValueError, parallel, other(torch.rand(3, 3), torch.rand(3, 3)))
    assert e.code == "shape_mismatch" and "first, second" in str(e)
    same(parallel((torch.ones(3, 3), torch.ones(3, 3))), Pair(torch.ones(3, 3) + 1, torch.ones(3, 3) * 2))


def test_keys_of_a_dict_may_come_in_any_order():
    model, values = MODELS["dicts"]
    parallel = torch.neuron.DataParallel(trace(model, *values(2)))
    batch = values(5)[0]
    same(parallel(dict(reversed(batch.items()))), alone(model, batch))


@pytest.mark.parametrize("name", ["tuples", "dicts", "mixed"])
def test_another_structure_is_a_value_error(name, error_of):
    model, values = MODELS[name]
    parallel = torch.neuron.DataParallel(quiet(trace, model, *values(2))[0])
    args = values(4)
    for bad in (args[:-1] + (torch.rand(4, 3),), args[:-1] + ([],), args + (torch.rand(4, 3),)):
        assert error_of(ValueError, parallel, *bad).code == "shape_mismatch"


# --- keyword arguments
# -----------------------------------------------------------------------------------------------


class Masked(torch.nn.Module):
    def forward(self, x, mask=None, bias=None):
        if mask is not None:
            x = x * mask
        return x if bias is None else x + bias


def test_arguments_may_be_given_by_name(error_of):
    model = Masked()
    parallel = torch.neuron.DataParallel(trace(model, torch.rand(2, 3), torch.rand(2, 3)))
    x, mask = torch.rand(7, 3), torch.rand(7, 3)
    for given in (parallel(x, mask), parallel(x, mask=mask), parallel(mask=mask, x=x)):
        same(given, x * mask)
    same(parallel.submit(x=x, mask=mask).result(), x * mask)
    assert "mask" in str(error_of(TypeError, parallel, x, mask, mask=mask))
    assert "nothing" in str(error_of(TypeError, parallel, x, nothing=mask))
    assert "x" in str(error_of(TypeError, parallel, mask=mask))


def test_examples_may_be_given_by_name_with_defaults_between_them():
    model = Masked()
    traced = torch_neuron.trace(model, torch.rand(2, 3), example_kwarg_inputs={"bias": torch.rand(2, 3)}, tune=False)
    x, bias = torch.rand(5, 3), torch.rand(5, 3)
    same(torch.neuron.DataParallel(traced)(x, None, bias), x + bias)
    same(traced(x, mask=None, bias=bias), x + bias)


def test_a_script_module_takes_arguments_by_name():
    script = torch.jit.script(Two())
    parallel = torch.neuron.DataParallel(trace(script, torch.rand(2, 3), torch.rand(2, 3)))
    x, y = torch.rand(5, 3), torch.rand(5, 3)
    same(parallel(y=y, x=x), x - y)


class Two(torch.nn.Module):
    def forward(self, x, y):
        return x - y


class ByName(torch.nn.Module):
    def forward(self, x, *, mask, bias=None, factor=2):
        return x * mask * factor + (0 if bias is None else bias)


class AnyNames(torch.nn.Module):
    def forward(self, x, **others):
        return {name: x + value for name, value in others.items()}


def test_arguments_that_can_only_be_given_by_name(error_of, tmp_path):
    model, x, mask = ByName(), torch.rand(7, 3), torch.rand(7, 3)
    example = {"mask": torch.rand(2, 3)}
    traced = torch_neuron.trace(model, torch.rand(2, 3), example_kwarg_inputs=example, tune=False)
    torch.jit.save(traced, str(tmp_path / "m.pt"))
    for kept in (traced, torch.jit.load(str(tmp_path / "m.pt"))):
        parallel = torch.neuron.DataParallel(kept)
        same(parallel(x, mask=mask), model(x, mask=mask))
        same(parallel.submit(mask=mask, x=x).result(), model(x, mask=mask))
        e = error_of(ValueError, parallel, x, mask=torch.rand(7, 4))
        assert e.code == "shape_mismatch" and "mask" in str(e)
        assert "missing" in str(error_of(TypeError, parallel, mask=mask))
        assert "bias" in str(error_of(TypeError, parallel, x, mask=mask, bias=mask))
    same(traced(x, mask=mask), model(x, mask=mask))


def test_numbers_that_can_only_be_given_by_name_are_constants(error_of):
    model, x, mask = ByName(), torch.rand(7, 3), torch.rand(7, 3)
    example = {"factor": 3, "mask": torch.rand(2, 3)}
    parallel = torch.neuron.DataParallel(torch_neuron.trace(model, torch.rand(2, 3), example_kwarg_inputs=example))
    same(parallel(x, mask=mask, factor=3), model(x, mask=mask, factor=3))
    assert error_of(ValueError, parallel, x, mask=mask, factor=4).code == "shape_mismatch"


def test_arguments_of_any_name():
    example = {"first": torch.rand(2, 3), "second": torch.rand(2, 3)}
    traced = torch_neuron.trace(AnyNames(), torch.rand(2, 3), example_kwarg_inputs=example, tune=False)
    x, first, second = (torch.rand(5, 3) for _ in range(3))
    same(torch.neuron.DataParallel(traced)(x, second=second, first=first), AnyNames()(x, first=first, second=second))


def test_a_script_module_takes_arguments_that_can_only_be_given_by_name():
    class Script(torch.nn.Module):
        def forward(self, x, *, scale: torch.Tensor):
            return x * scale

    example = {"scale": torch.rand(2, 1)}
    script = torch.jit.script(Script())
    parallel = torch.neuron.DataParallel(torch_neuron.trace(script, torch.rand(2, 3), example_kwarg_inputs=example))
    x, scale = torch.rand(5, 3), torch.rand(5, 1)
    same(parallel(x, scale=scale), x * scale)


def test_sentences_name_the_leaf_of_a_structure(error_of):
    parallel = torch.neuron.DataParallel(quiet(trace, *MODELS["mixed"][:1], *mixed(2))[0])
    x, batch = mixed(5)
    bad = {**batch, "a": Pair(torch.rand(5, 9), batch["a"].second)}
    assert "batch_a_first" in str(error_of(ValueError, parallel, x, bad))


# --- values that are no tensors
# --------------------------------------------------------------------------------------


class Scaled(torch.nn.Module):
    def forward(self, x, factor: float, names: str):
        return x * factor if names == "scale" else x


def test_values_that_are_no_tensors_go_to_every_chunk():
    parallel = torch.neuron.DataParallel(trace(Scaled(), torch.rand(2, 3), 2.0, "scale"))
    x = torch.rand(9, 3)
    same(parallel(x, 3.0, "scale"), x * 3)
    same(parallel(x, 3, "scale"), x * 3)  # an int for a float, as Python has it
    same(parallel(x, 3.0, "other"), x)
    same(parallel(x, factor=0.5, names="scale"), x * 0.5)


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class LivePoint(torch.nn.Module):
    def forward(self, x, factor: float, names: List[str]):
        return Point(x * factor, x), names, factor


class LiveBatch(torch.nn.Module):
    def forward(self, batch: Dict[str, torch.Tensor], points: List[Point], factor: float):
        return batch, points, factor


def live_batch(x, factor):
    return collections.OrderedDict(b=x, a=x + 1), Rows([Point(x, x + 2)]), factor


LIVE = {
    "a namedtuple": (LivePoint(), lambda x, factor: (x, factor, ["a", "b", "c"][: int(factor)])),
    "classes of dicts and lists": (LiveBatch(), live_batch),
}


@pytest.mark.parametrize("what", LIVE)
def test_beside_values_that_stay_live_containers_keep_their_classes(what, tmp_path):
    model, values = LIVE[what]
    x = torch.rand(5, 3)
    traced = trace(model, *values(x[:2], 2.0))
    torch.jit.save(traced, str(tmp_path / "m.pt"))
    for factor in (2.0, 3.0):
        args = values(x, factor)
        same(traced(*args), model(*args))
        for kept in (traced, torch.jit.load(str(tmp_path / "m.pt"))):
            same(torch.neuron.DataParallel(kept)(*args), model(*args))


def test_where_the_code_cannot_be_scripted_they_are_constants(error_of):
    class Odd(torch.nn.Module):
        def forward(self, x, options):
            return x * eval(options["factor"])

    parallel = torch.neuron.DataParallel(quiet(trace, Odd(), torch.rand(2, 3), {"factor": "3"})[0])
    x = torch.rand(5, 3)
    same(parallel(x, {"factor": "3"}), x * 3)
    assert error_of(ValueError, parallel, x, {"factor": "4"}).code == "shape_mismatch"


def test_a_0_dimensional_tensor_goes_to_every_chunk():
    model = Two()
    parallel = torch.neuron.DataParallel(trace(model, torch.rand(2, 3), torch.tensor(1.0)))
    x = torch.rand(9, 3)
    same(parallel(x, torch.tensor(0.5)), x - 0.5)


def test_what_no_model_takes_is_a_type_error(error_of):
    assert error_of(TypeError, trace, Two(), torch.rand(2, 3), object()).code == "invalid_argument"
    for key in (object(), float("nan")):
        e = error_of(TypeError, trace, Two(), torch.rand(2, 3), {key: torch.rand(1)})
        assert e.code == "invalid_argument" and repr(key) in str(e)


def test_constants_of_an_answer_are_mentioned():
    _, said = quiet(trace, MODELS["mixed"][0], *mixed(2))
    assert any("2" in sentence and "constant" in sentence for sentence in said)
