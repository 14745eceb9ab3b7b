"""Structures of Python values: taken apart into tensors, written down as JSON, and put together again.

TorchScript knows tensors, tuples, and lists and dicts of one type. For the rest (namedtuples, dicts of
different things, values that are no tensors) a model is traced with its tensors side by side, and what is
described here stands around them.
"""

import collections
import dataclasses
import functools
import json
import re
import sys

import torch

from .errors import _make

CONSTANTS = (type(None), bool, int, float, str)


def is_namedtuple(value):
    return isinstance(value, tuple) and hasattr(value, "_fields")


def leaves(value):
    """The tensors and the constants of a value, depth first."""
    if isinstance(value, (tuple, list)):
        for element in value:
            yield from leaves(element)
    elif isinstance(value, dict):
        for element in value.values():
            yield from leaves(element)
    else:
        yield value


def is_plain(value):
    """Whether TorchScript itself gives the value back as it is: tensors, tuples, and lists and dicts of one type."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    if type(value) in (list, dict):
        elements = list(value.values()) if type(value) is dict else value
        keys = all(isinstance(key, str) for key in value) if type(value) is dict else True
        return bool(elements) and keys and all(map(is_plain, elements)) and len(set(map(kind_of, elements))) == 1
    return isinstance(value, torch.Tensor)


def kind_of(value):
    """The TorchScript type of a plain value, as text."""
    if isinstance(value, tuple):
        return f"({','.join(map(kind_of, value))})"
    if isinstance(value, (list, dict)):
        first = next(iter(value.values() if isinstance(value, dict) else value), None)
        return f"{type(value).__name__}<{kind_of(first)}>"
    return "tensor"


def describe(value, where):
    """The structure of a value as JSON-able data. TypeError for what is neither tensor, constant nor container."""
    if isinstance(value, torch.Tensor):
        return {"kind": "tensor"}
    if type(value) in CONSTANTS:
        return {"kind": "constant", "value": value}
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int, bool, float):
                raise _make("wrong_type", f"{where} has the key {key!r}: keys are strings or numbers")
        return {
            "kind": "dict",
            "class": _name_of(type(value)),
            "keys": list(value),
            "items": [describe(v, f"{where}[{k!r}]") for k, v in value.items()],
        }
    if isinstance(value, (tuple, list)):
        kind = "namedtuple" if is_namedtuple(value) else "tuple" if isinstance(value, tuple) else "list"
        shape = {"kind": kind, "items": [describe(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if kind == "namedtuple":
            shape.update({"class": _name_of(type(value)), "fields": list(value._fields)})
        return shape
    raise _make(
        "wrong_type",
        f"{where} is a {type(value).__name__}: tensors, numbers, strings, None, and tuples, lists and dicts of such "
        "are what a model takes and returns",
    )


def leaf_names(names, shapes):
    """A name for each tensor in values of these shapes, no two alike: ``batch_a`` for ``batch["a"]``."""
    found = {}

    def walk(name, shape):
        if shape["kind"] == "tensor":
            name = re.sub(r"\W", "_", name)
            while name in found:
                name += "_"
            found[name] = None
        inner = shape.get("items", ())
        for key, item in zip(shape.get("keys") or shape.get("fields") or range(len(inner)), inner):
            walk(f"{name}_{key}", item)

    for name, shape in zip(names, shapes):
        walk(name, shape)
    return list(found)


def take_apart(shape, value, where, tensors):
    """Appends the tensors of a value that must have the shape. ValueError where it has another one."""
    kind = shape["kind"]
    if kind == "tensor":
        if not isinstance(value, torch.Tensor):
            raise _mismatch(where, "a tensor", value)
        tensors.append(value)
    elif kind == "constant":
        wanted = shape["value"]
        if type(value) is not type(wanted) or value != wanted:
            raise _make(
                "shape_mismatch",
                f"{where} is {value!r}, but the model was traced for {wanted!r}, which became a part of it: "
                "give that, or trace the model again",
            )
    elif kind == "dict":
        if not isinstance(value, dict) or set(value) != set(shape["keys"]):
            raise _mismatch(where, f"a dict with the keys {shape['keys']}", value)
        for key, inner in zip(shape["keys"], shape["items"]):
            take_apart(inner, value[key], f"{where}[{key!r}]", tensors)
    else:
        wanted = list if kind == "list" else tuple
        if not isinstance(value, wanted) or len(value) != len(shape["items"]):
            raise _mismatch(where, f"a {wanted.__name__} of {len(shape['items'])}", value)
        for i, (inner, element) in enumerate(zip(shape["items"], value)):
            take_apart(inner, element, f"{where}[{i}]", tensors)


def _mismatch(where, wanted, value):
    given = f"a {type(value).__name__}"
    if isinstance(value, dict):
        given += f" with the keys {list(value)}"
    elif isinstance(value, (tuple, list)):
        given += f" of {len(value)}"
    return _make("shape_mismatch", f"{where}: expected {wanted}, but {given} was given")


def put_together(shape, tensors):
    """A value of the shape, with the tensors of an iterator in their order."""
    kind = shape["kind"]
    if kind == "tensor":
        return next(tensors)
    if kind == "constant":
        return shape["value"]
    items = [put_together(inner, tensors) for inner in shape["items"]]
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    if kind == "namedtuple":
        known = _class_named(shape["class"])
        if known is None or getattr(known, "_fields", None) != tuple(shape["fields"]):
            known = _namedtuple(shape["class"].rpartition(":")[2].rpartition(".")[2], tuple(shape["fields"]))
        return known(*items)
    pairs = list(zip(shape["keys"], items))
    known = _class_named(shape["class"])
    if known is None or not issubclass(known, dict):
        return dict(pairs)
    try:
        # Classes that are dataclasses too, as those of transformers, take their entries by name.
        return known(**dict(pairs)) if dataclasses.is_dataclass(known) else known(pairs)
    except TypeError:  # a class that is not made from pairs, such as defaultdict
        return dict(pairs)


@functools.lru_cache(maxsize=None)
def _namedtuple(name, fields):
    """A class for values that were traced in another process, which does not have the original."""
    return collections.namedtuple(name, fields)


def _name_of(kind):
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_named(name):
    """The class where the program has it; a file never makes a module be imported."""
    module, _, path = name.partition(":")
    found = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


class Structure:
    """What a traced model takes and returns in Python, where that is not what its TorchScript says."""

    ATTRIBUTE = "ganglion_python"

    def __init__(self, names, inputs, output):
        self.names, self.inputs, self.output = names, inputs, output

    def to_json(self):
        return json.dumps({"names": self.names, "inputs": self.inputs, "output": self.output})

    @classmethod
    def of(cls, module):
        """The structure that a traced module carries, or None."""
        text = getattr(module, cls.ATTRIBUTE, None)
        if text is None:
            return None
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as e:
            raise _make("model_load_failed", f"the structure that the module carries cannot be read: {e}") from None

    def tensors_of(self, args):
        if self.inputs is None:
            return args
        if len(args) != len(self.inputs):
            names = ", ".join(self.names)
            raise _make(
                "shape_mismatch",
                f"the model was compiled for {len(self.inputs)} inputs ({names}), but {len(args)} were given",
            )
        tensors = []
        for name, shape, value in zip(self.names, self.inputs, args):
            take_apart(shape, value, name, tensors)
        return tuple(tensors)

    def value_of(self, output):
        if self.output is None:
            return output
        return put_together(self.output, iter(output if isinstance(output, tuple) else (output,)))
