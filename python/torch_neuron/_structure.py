"""Structures of Python values: taken apart into tensors, written down as JSON, and put together again.

TorchScript knows tensors, tuples, and lists and dicts of one type. For the rest (namedtuples, dicts of
different things, classes of the user's, values that are no tensors) a model is traced with its tensors side by side,
and what is described here stands around them.
"""

import collections
import contextlib
import functools
import json
import math
import operator
import re
import sys
import weakref

import torch

from .errors import _make

CONSTANTS = (type(None), bool, int, float, str)
#: How deep containers may be in each other: all that reads them goes down by recursion.
DEEPEST = 64


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
        keys = all(type(key) is str for key in value) if type(value) is dict else True
        return bool(elements) and keys and all(map(is_plain, elements)) and len(set(map(kind_of, elements))) == 1
    return isinstance(value, torch.Tensor)


def is_traceable(value):
    """Whether torch.jit.trace lets a model return a plain value: of lists and dicts it takes those of tensors, and of
    dicts those of tuples of tensors too."""
    if isinstance(value, tuple):
        return all(map(is_traceable, value))
    if isinstance(value, dict):
        value = [tensor for v in value.values() for tensor in (v if isinstance(v, tuple) else [v])]
    return isinstance(value, torch.Tensor) or all(isinstance(element, torch.Tensor) for element in value)


def kind_of(value):
    """The TorchScript type of a plain value, as text."""
    if isinstance(value, tuple):
        return f"({','.join(map(kind_of, value))})"
    if isinstance(value, (list, dict)):
        first = next(iter(value.values() if isinstance(value, dict) else value), None)
        return f"{type(value).__name__}<{kind_of(first)}>"
    return "tensor"


def without_numpy(value):
    """A NumPy scalar as Python's own value; all else as it is."""
    numpy = sys.modules.get("numpy")
    return value.item() if numpy is not None and isinstance(value, numpy.generic) else value


def describe(value, where, depth=0):
    """The shape of a value. TypeError for what is neither tensor, constant nor container, or contains itself.

    A shape is JSON-able but for the classes in it.
    """
    if depth > DEEPEST:
        raise _make(
            "wrong_type",
            f"{where[:40]}... has more than {DEEPEST} containers in each other, or contains itself: give a flatter "
            "value",
        )
    value = without_numpy(value)
    if isinstance(value, torch.Tensor):
        return {"kind": "tensor"}
    if type(value) in CONSTANTS:
        return {"kind": "constant", "value": value if value == value else math.nan}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int, float)) or key != key:
                raise _make("wrong_type", f"{where} has the key {key!r}: keys are strings, or numbers but nan")
        return {
            "kind": "dict",
            "class": type(value),
            "keys": list(value),
            "items": [describe(v, f"{where}[{k!r}]", depth + 1) for k, v in value.items()],
        }
    if isinstance(value, (tuple, list)):
        shape = {
            "kind": "tuple" if isinstance(value, tuple) else "list",
            "items": [describe(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)],
        }
        if type(value) not in (tuple, list):
            shape["class"] = type(value)
        if is_namedtuple(value):
            shape.update({"kind": "namedtuple", "fields": list(value._fields)})
        return shape
    raise _make(
        "wrong_type",
        f"{where} is a {type(value).__name__}: tensors, numbers, strings, None, and tuples, lists and dicts of such "
        "are what a model takes and returns",
    )


def has_classes(shape):
    """Whether a value of the shape has other containers in it than tuples, lists and dicts."""
    return shape.get("class", dict) is not dict or any(map(has_classes, shape.get("items", ())))


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
        wanted, value = shape["value"], without_numpy(value)
        same = value == wanted or (value != value and wanted != wanted)  # not a number is itself here
        if type(value) is not type(wanted) or not same:
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
        if kind == "namedtuple" and tuple(getattr(value, "_fields", shape["fields"])) != tuple(shape["fields"]):
            raise _mismatch(where, f"a namedtuple of {', '.join(shape['fields'])}", value)
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
    return _container(shape, [put_together(inner, tensors) for inner in shape["items"]])


def put_on(shape, value):
    """A value with the classes of a shape, where the two have the same containers."""
    items = shape.get("items")
    if shape["kind"] == "dict" and isinstance(value, dict):
        inner = dict(zip(shape["keys"], items))
        items = [put_on(inner[key], v) if key in inner else v for key, v in value.items()]
        return _container({**shape, "keys": list(value)}, items)
    if items is not None and isinstance(value, list if shape["kind"] == "list" else tuple):
        if len(items) != len(value):  # a list of any length has elements of one type
            items = items[:1] * len(value) if all(inner == items[0] for inner in items) else [_ANY] * len(value)
        return _container(shape, [put_on(*pair) for pair in zip(items or [_ANY] * len(value), value)])
    return value


_ANY = {"kind": "tensor"}


def _container(shape, items):
    kind, known = shape["kind"], shape.get("class")
    if kind == "dict":
        return _dict(known, dict(zip(shape["keys"], items)))
    if kind == "list":
        return items if known is None else _list(known, items)
    if known is None:
        return tuple(items)
    try:
        return tuple.__new__(known, items)  # whatever the class has its own values made from
    except TypeError:  # made by the interpreter, as torch.return_types
        return known(items)


def _list(known, items):
    with contextlib.suppress(Exception):
        made = known(items)
        if _same(made, items):
            return made
    made = known.__new__(known)
    made[:] = items
    return made


def _dict(known, pairs):
    if known is dict:
        return pairs
    # Most take their entries by name, as the outputs of transformers' models, or from a dict.
    for make in (lambda: known(**pairs), lambda: known(pairs)):
        with contextlib.suppress(Exception):
            made = make()
            if list(made) == list(pairs) and _same(made.values(), pairs.values()):
                return made
    made = known.__new__(known)
    made.update(pairs)
    return made


def _same(made, given):
    return len(made) == len(given) and all(map(operator.is_, made, given))


# --- classes as text ----------------------------------------------------------------------------------------------

#: Classes that no module has, such as those of a function's own, as long as they are there.
_others: "weakref.WeakValueDictionary[str, type]" = weakref.WeakValueDictionary()


def _name_of(kind):
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _in_module(name) is not kind:
        name = name if "<locals>" in name else f"{kind.__module__}:<locals>.{kind.__qualname__}"
        _others[name] = kind
    return name


def _in_module(name):
    """The class where a module that was imported has it; a file never makes a module be imported."""
    module, _, path = name.partition(":")
    found = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _with_class(shape):
    """A shape that was read, with its class where the program has it, else with the nearest that there is."""
    if "class" not in shape:
        return shape
    name, kind = shape["class"], shape["kind"]
    known = _in_module(name) or _others.get(name)
    if kind == "namedtuple" and getattr(known, "_fields", None) != tuple(shape["fields"]):
        known = _namedtuple(name.rpartition(":")[2].rpartition(".")[2], tuple(shape["fields"]))
    base = {"dict": dict, "list": list}.get(kind, tuple)
    if known is not None and issubclass(known, base):
        return {**shape, "class": known}
    return {**shape, "class": dict} if kind == "dict" else {k: v for k, v in shape.items() if k != "class"}


@functools.lru_cache(maxsize=None)
def _namedtuple(name, fields):
    """A class for values that were traced in another process, which does not have the original."""
    return collections.namedtuple(name, fields)


#: One object for all, so that shapes with it are equal.
_CONSTANTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Structure:
    """What a traced model takes and returns in Python, where that is not what its TorchScript says.

    ``inputs`` has a shape for each argument, ``output`` that of the answer; None where TorchScript has it as it is. A
    ``live`` answer has values of its own that are no tensors, and only takes on the classes of ``output``. ``defaults``
    are those of some of the arguments.
    """

    ATTRIBUTE = "ganglion_python"

    def __init__(self, names, inputs, output, live=False, defaults=None):
        self.names, self.inputs, self.output, self.live, self.defaults = names, inputs, output, live, defaults or {}

    def __eq__(self, other):
        """Whether both take and return the same, whatever the names of arguments."""
        return isinstance(other, Structure) and self._shapes() == other._shapes()

    def _shapes(self):
        return self.inputs, self.output, self.live

    def to_json(self):
        values = {"names": self.names, "inputs": self.inputs, "output": self.output}
        if self.live:
            values["live"] = True
        if self.defaults:
            values["defaults"] = self.defaults
        return json.dumps(values, default=_name_of)

    def put_into(self, module):
        """Lets a module of Python's know it; its classes are kept, whether or not a module has them."""
        module.__dict__[self.ATTRIBUTE + "_structure"] = self

    @classmethod
    def of(cls, module):
        """The structure that a traced module carries, or None."""
        known = module.__dict__.get(cls.ATTRIBUTE + "_structure")
        text = getattr(module, cls.ATTRIBUTE, None)
        if known is not None or text is None:
            return known
        try:
            return cls(**json.loads(text, object_hook=_with_class, parse_constant=_CONSTANTS.get))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
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
        if self.live:
            return put_on(self.output, output)
        return put_together(self.output, iter(output if isinstance(output, tuple) else (output,)))
