"""The arguments of a model's forward: as an example gives them, and as a call does."""

import contextlib
import inspect

import torch

from ._structure import CONSTANTS, without_numpy
from .errors import _make


class Arguments:
    """What an example gives forward, in order: ``names`` and ``values``, the last of which go ``by_name`` only.

    ``defaults`` are those that forward has for some of the names.
    """

    def __init__(self, names, values, by_name=(), defaults=None):
        self.names, self.values, self.by_name = list(names), list(values), list(by_name)
        self.defaults = defaults or {}

    def with_values(self, values):
        """The same arguments with the values of another example."""
        if len(values) != len(self.names):
            raise _make(
                "shape_mismatch",
                f"another example has {len(values)} arguments, but the first one has {len(self.names)} "
                f"({', '.join(self.names)})",
            )
        return Arguments(self.names, values, self.by_name, self.defaults)

    def split(self, values):
        """Values in this order as forward takes them: a tuple by position, and a dict by name."""
        values = tuple(values)
        position = len(values) - len(self.by_name)
        return values[:position], dict(zip(self.by_name, values[position:]))


def example_tuple(example):
    """As torch.jit.trace reads it: a tensor or a dict is one argument, a tuple or a list holds all of them."""
    if isinstance(example, (torch.Tensor, dict)) or type(example) in CONSTANTS:
        return (example,)
    if not hasattr(example, "__array__"):  # NumPy's would be a tuple of its rows
        with contextlib.suppress(TypeError):
            return tuple(map(without_numpy, example))
    raise _make(
        "wrong_type",
        f"the example is a {type(example).__name__}: give a tensor, or a tuple with one value an argument",
    )


def fill_in(forward, args, kwargs):
    """The Arguments from the first to the last that is given, defaults between them included."""
    signature = signature_of(forward)
    try:
        bound = signature.bind(*args, **{name: without_numpy(value) for name, value in kwargs.items()})
    except TypeError as e:
        raise _make("shape_mismatch", f"the example does not fit forward: {e}") from None
    given = set(bound.arguments)
    bound.apply_defaults()
    names, values, by_name = [], [], {}
    last, variadic = 0, False
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}_{i}" for i in range(len(value))]
            values += value
            variadic = name in given
        elif kind is inspect.Parameter.VAR_KEYWORD:
            by_name.update(value)
        elif kind is inspect.Parameter.KEYWORD_ONLY:
            if name in given:
                by_name[name] = value
        else:
            names.append(name)
            values.append(value)
            last = len(names) if name in given else last
    if not variadic:
        names, values = names[:last], values[:last]
    names += by_name
    known = {name: signature.parameters[name].default for name in names if name in signature.parameters}
    defaults = {name: value for name, value in known.items() if type(value) in CONSTANTS}
    return Arguments(names, [*values, *by_name.values()], by_name, defaults)


def signature_of(function):
    try:
        return inspect.signature(function)
    except ValueError:  # written in C, as torch.relu: it takes what it takes
        kind = inspect.Parameter
        return inspect.Signature([kind("input", kind.VAR_POSITIONAL), kind("options", kind.VAR_KEYWORD)])


class Parameters:
    """The arguments of a compiled model: their names in order, and the defaults that some have."""

    def __init__(self, names, defaults):
        self.names, self.defaults = list(names), defaults

    def __str__(self):
        return ", ".join(f"{name}={self.defaults[name]!r}" if name in self.defaults else name for name in self.names)

    def given(self, args, kwargs):
        """The values in order, up to the last that is given. TypeError, as Python's own, for names that do not fit."""
        values, rest = list(args), dict(kwargs)
        for name in rest:
            if name not in self.names:
                raise _make("wrong_type", f"the argument {name!r} is none of the compiled arguments, which are {self}")
            if name in self.names[: len(values)]:
                raise _make("wrong_type", f"the argument {name!r} was given twice")
        for name in self.names[len(values) :]:
            if not rest:
                break
            if name not in rest and name not in self.defaults:
                raise _make("wrong_type", f"the argument {name!r} is missing: the compiled arguments are {self}")
            values.append(rest.pop(name) if name in rest else self.defaults[name])
        return tuple(values)

    def values(self, args, kwargs):
        """All of the values; fewer, for others to complain of, where one without a default is not given."""
        if not kwargs and len(args) >= len(self.names):
            return args
        values = self.given(args, kwargs)
        missing = self.names[len(values) :]
        if any(name not in self.defaults for name in missing):
            return values
        return values + tuple(self.defaults[name] for name in missing)


def parameters_of(script, names=None):
    """Those that a ScriptModule's forward has, or the first of them under the names they were compiled with."""
    schema = script._c._get_method("forward").schema.arguments[1:]
    names = [a.name for a in schema] if names is None else names
    return Parameters(names, {n: a.default_value for n, a in zip(names, schema) if a.has_default_value()})
