"""From a model in Python to the ScriptModule that is compiled."""

import contextlib
import inspect
import re
import warnings

import torch

from ._arguments import Arguments, example_tuple, fill_in, parameters_of
from ._structure import (
    CONSTANTS,
    Structure,
    describe,
    has_classes,
    is_plain,
    is_traceable,
    leaf_names,
    leaves,
    put_together,
)
from ._warnings import say
from .errors import NeuronError, _make

#: How far a trace may be from its module where nothing else is said, as torch.jit.trace compares them but for dtype.
TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
DEFAULT_TOLERANCE = 1e-4


def script_module(func, examples, kwargs, checks=(), tolerance=None, calibration=()):
    """What is to be compiled for some examples, the first of which the module is traced with.

    Returns the ScriptModule, its arguments for each example, those for the calibration, and the Structure where
    Python's values differ from TorchScript's. What was traced is compared with the module on the examples after the
    first, and on ``checks``.
    """
    first, *others = map(example_tuple, examples)
    calibration = list(map(example_tuple, calibration))
    if isinstance(func, torch.jit.ScriptModule):
        if kwargs:
            first = parameters_of(func).given(first, kwargs)
        return func, [first, *others], calibration, None
    module, forward = as_module(func)
    if any(m.training for m in module.modules()):
        say(True, "the module was in training mode; it was traced in eval mode")
    with eval_mode(module):
        arguments = fill_in(forward, first, kwargs)
        others = [arguments.with_values(values) for values in others]
        script, as_compiled, structure = traced_module(module, arguments)
        if isinstance(script, torch.jit.TopLevelTracedModule):
            for example in others + [arguments.with_values(example_tuple(check)) for check in checks]:
                compare(module, script, example, as_compiled, structure, tolerance)
        calibration = [as_compiled(arguments.with_values(values)) for values in calibration]
    return script, [as_compiled(example) for example in [arguments, *others]], calibration, structure


def as_module(func):
    """A module that runs func, and the function that says what its arguments are."""
    if isinstance(func, torch.nn.Module):
        return func, func.forward
    owner = getattr(func, "__self__", None)
    if isinstance(owner, torch.nn.Module):
        return (owner, func) if func == owner.forward else (FunctionModule(func, owner), func)
    if isinstance(func, torch.jit.ScriptFunction):
        func = called_from_python(func)
    if callable(func) and not inspect.isclass(func):
        return FunctionModule(func), func
    raise _make(
        "wrong_type",
        f"trace() takes an nn.Module, a function or a ScriptModule, but a {type(func).__name__} was given",
    )


def called_from_python(script):
    """A Python function that calls one of TorchScript, with the names and the defaults of its arguments."""

    def forward(*args):
        return script(*args)

    kind = inspect.Parameter
    forward.__signature__ = inspect.Signature(
        kind(a.name, kind.POSITIONAL_OR_KEYWORD, default=a.default_value if a.has_default_value() else kind.empty)
        for a in script.schema.arguments
    )
    return forward


def traced_module(module, arguments):
    """The ScriptModule, a function from Arguments to the values that it takes, and the Structure or None."""
    names, values, by_name = arguments.names, arguments.values, arguments.by_name
    for name, value in zip(names, values):
        describe(value, name)
    inputs_plain = all(map(is_plain, values))
    if not inputs_plain and not by_name and any(type(leaf) in CONSTANTS for leaf in leaves(values)):
        script = scripted(module, values)
        if script is not None:
            return script, _values, live_structure(module, arguments)
    with torch.no_grad():
        output = call(module, arguments)
    shape = describe(output, "the output")
    output_plain = is_plain(output) and is_traceable(output)
    if inputs_plain and output_plain and not by_name:
        return traced(module, tuple(values)), _values, None
    for leaf in leaves(output):
        if not isinstance(leaf, torch.Tensor):
            say(True, f"the model returns {leaf!r}, which is no tensor: it becomes a constant of the compiled model")
    structure = Structure(
        names,
        None if inputs_plain else [describe(value, name) for name, value in zip(names, values)],
        None if output_plain else shape,
        defaults=arguments.defaults,
    )
    flat = FlatModule(module, structure, arguments)
    script = traced(flat, structure.tensors_of(tuple(values)))
    return script, lambda example: structure.tensors_of(tuple(example.values)), structure


def traced(module, values):
    try:
        return torch.jit.trace(module, values, strict=False, check_trace=False)
    except NeuronError:  # of a DataParallel in the module
        raise
    except Exception as e:
        # Tensors stand in it with all their values, as " ( 0.5 [ CPUFloatType{1} ])" over several lines.
        reason = re.sub(r"(?s) \(.*?Type\{.*?\]\)", "", str(e)).strip().partition("\n")[0].rstrip(".")
        raise _make(
            "unsupported_model",
            f"the module cannot be traced: {type(e).__name__}: {reason}: make the tensors that it uses parameters or "
            "buffers of an nn.Module, or trace torch.jit.script(model)",
        ) from e


def live_structure(module, arguments):
    """The classes that a module's answers have, where its TorchScript returns plain containers; else None."""
    with torch.no_grad():
        output = call(module, arguments)
    try:
        output = describe(output, "the output")
    except TypeError:  # what only TorchScript has a type for
        return None
    return Structure(arguments.names, None, output, live=True) if has_classes(output) else None


def _values(arguments):
    return tuple(arguments.values)


def scripted(module, args):
    """The module with its values that are no tensors kept live, where TorchScript can read its code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.script(module)
        script(*args)
        return script
    except Exception:  # whatever TorchScript's compiler does not know: the module is traced instead
        return None


def call(module, arguments):
    args, kwargs = arguments.split(arguments.values)
    try:
        return module(*args, **kwargs)
    except Exception as e:
        raise _make("forward_failed", f"the module fails on the example: {type(e).__name__}: {e}") from e


def compare(module, script, example, as_compiled, structure, tolerance):
    """Refuses a trace that does something else for an example than its module: sizes became constants of it."""
    hint = "a trace keeps what was computed from the first example's sizes and values; trace torch.jit.script(model)"
    tensors = as_compiled(example)
    with torch.no_grad():
        wanted = call(module, example)
        try:
            given = script(*tensors)
            given = given if structure is None else structure.value_of(given)
        except Exception as e:
            reason = str(e).strip().splitlines()[-1]
            raise _make("unsupported_model", f"the trace fails on another example: {reason}: {hint}") from e
    if describe(wanted, "the output") != describe(given, "the output"):
        raise _make("unsupported_model", f"for another example the trace returns another structure: {hint}")
    for a, b in zip(leaves(wanted), leaves(given)):
        if isinstance(a, torch.Tensor) and not near(a, b, tolerance):
            sizes = f"a tensor {list(b.shape)} instead of {list(a.shape)}" if a.shape != b.shape else "other values"
            raise _make("unsupported_model", f"for another example the trace returns {sizes}: {hint}")


def near(a, b, tolerance):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    if tolerance is None:
        tolerance = TOLERANCE.get(a.dtype, DEFAULT_TOLERANCE)
    wide = torch.complex128 if a.is_complex() else torch.float64
    return torch.allclose(a.to(wide), b.to(wide), rtol=tolerance, atol=tolerance, equal_nan=True)


class FunctionModule(torch.nn.Module):
    """A function of tensors as a module, beside the module whose weights it uses."""

    def __init__(self, function, owner=None):
        super().__init__()
        if owner is not None:
            self.owner = owner
        self.forward = function
        self.training = False


class FlatModule(torch.nn.Module):
    """A module that takes its arguments in order and returns its tensors side by side."""

    def __init__(self, module, structure, arguments):
        super().__init__()
        self.module = module
        self.training = False

        def forward(*tensors):
            values = tensors
            if structure.inputs is not None:
                rest = iter(tensors)
                values = [put_together(shape, rest) for shape in structure.inputs]
            args, kwargs = arguments.split(values)
            output = module(*args, **kwargs)
            if structure.output is None:
                return output
            return tuple(leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor))

        # The names that the engine's sentences speak of.
        names = structure.names if structure.inputs is None else leaf_names(structure.names, structure.inputs)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        self.forward = forward


@contextlib.contextmanager
def eval_mode(module):
    """The module in eval mode, and afterwards as it was."""
    training = [m for m in module.modules() if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True
