"""torch.neuron.trace."""

import contextlib
import inspect
import warnings

import torch

from . import _engine
from ._structure import CONSTANTS, Structure, describe, is_plain, leaves, put_together
from ._warnings import say
from .errors import _make

SIGNATURE = "ganglion_signature"


class NeuronModule(torch.jit.RecursiveScriptModule):
    """A compiled model: the ScriptModule that :func:`trace` returns.

    Call it like the original; it then runs on the calling thread, at any batch size. Give it to
    :class:`DataParallel` to run it on the cores. ``torch.jit.save(model, path)`` keeps all that was found out
    about it; ``torch.jit.load(path)`` gives a ScriptModule that DataParallel takes as well, and the file runs
    under the command ``ganglion run``.
    """

    def __call__(self, *args, **kwargs):
        structure = Structure.of(self)
        if structure is None:
            return super().__call__(*args, **kwargs)
        args = bind(structure.names, args, kwargs)
        return structure.value_of(super().__call__(*structure.tensors_of(args)))

    def _compiled(self):
        return self.__dict__.get("_ganglion_compiled")


def trace(
    func,
    example_inputs,
    *,
    example_kwarg_inputs=None,
    auto_cast="none",
    tune=True,
    compiler_workdir=None,
    compiler_args=None,
    compiler_timeout=None,
    dynamic_batch_size=None,
    separate_weights=None,
    verbose=None,
    **unknown,
):
    """Compiles a model for the exact shape of an example.

    Args:
        func: an ``nn.Module``, a function of tensors, or a ScriptModule. It stays as it is; what is compiled
            is a copy in eval mode.
        example_inputs: a tensor, or a tuple with one value an argument: tensors, numbers, strings, None, and
            tuples, lists, dicts and namedtuples of such. Sizes and dtypes become those that the model takes;
            the size along dim 0 is the compiled batch, the rows of one execution. No dimension may be empty.
        example_kwarg_inputs: a dict of further arguments by name.
        auto_cast: ``"none"``, or ``"bf16"`` to compute in bfloat16 inside. Inputs and outputs keep the
            example's dtypes.
        tune: whether to time the possible programs (seconds) and keep the fastest; else the frozen module is
            taken.
        compiler_workdir, compiler_args, compiler_timeout, dynamic_batch_size, separate_weights, verbose:
            taken, for scripts that give them, and without effect here: there is no Neuron compiler.
            ``compiler_args`` that are not empty are mentioned in a warning.

    Returns:
        A :class:`NeuronModule`, which is a ScriptModule.

    A module that takes or returns what TorchScript has no type for (namedtuples, dicts of different things,
    None) is traced with its tensors side by side: called from Python it takes and returns what it always did.
    Values that are no tensors are kept live where the module can be scripted (``torch.jit.script``); else
    those of the example become a part of the model, and another value at a call is refused.

    Raises:
        TypeError: ``func`` is no module or function, or the example holds what no model takes.
        ValueError: ``shape_mismatch`` (the example does not fit forward), ``invalid_argument`` (no tensor in
            it, or an empty one).
        RuntimeError: ``unsupported_model`` (changes its own attributes, has training wired in, returns no
            tensor),
            ``forward_failed`` (fails on the example).

    Example:
        >>> model_neuron = torch.neuron.trace(model, torch.rand([1, 3, 224, 224]))
    """
    if unknown:
        raise _make("wrong_type", f"trace() got the unknown argument {next(iter(unknown))!r}")
    if auto_cast not in ("none", "bf16"):
        raise _make("invalid_argument", f"auto_cast is {auto_cast!r}: give 'none' or 'bf16'")
    if compiler_args:
        say(True, f"compiler_args {compiler_args!r} have no effect here: there is no Neuron compiler; see auto_cast")
    script, args, structure = script_module(func, example_inputs, example_kwarg_inputs or {})
    if structure is not None:
        script._c._register_attribute(Structure.ATTRIBUTE, torch._C.StringType.get(), structure.to_json())
    compiled = _engine.compile(script._c, tuple(args), auto_cast == "bf16", bool(tune))
    for sentence in compiled.warnings:
        say(True, sentence)
    return wrapped(compiled)


def wrapped(compiled):
    """The NeuronModule of a compiled model."""
    module = torch.jit._recursive.wrap_cpp_module(compiled.module())
    module.__class__ = NeuronModule
    module.__dict__["_ganglion_compiled"] = compiled
    return module


def compiled_of(model):
    """The compiled model behind a ScriptModule that trace returned, or that torch.jit.load read."""
    if not isinstance(model, torch.jit.ScriptModule):
        hint = "trace it first: model_neuron = torch.neuron.trace(model, example_inputs)"
        if isinstance(model, (str, bytes)) or hasattr(model, "__fspath__"):
            hint = "read the file first: model_neuron = torch.jit.load(path)"
        raise _make(
            "wrong_type", f"DataParallel takes a traced model, but a {type(model).__name__} was given: {hint}"
        )
    known = model._compiled() if isinstance(model, NeuronModule) else None
    if known is not None:
        return known
    if not hasattr(model, SIGNATURE):
        raise _make(
            "model_load_failed",
            "this ScriptModule was never traced by torch_neuron, so its shape is not known: "
            "model_neuron = torch.neuron.trace(model, example_inputs)",
        )
    return _engine.restore(model._c)


# --- from Python to TorchScript
# --------------------------------------------------------------------------------------


def script_module(func, example_inputs, kwargs):
    """The ScriptModule to compile, its arguments, and the Structure where Python's differs from TorchScript's."""
    args = example_tuple(example_inputs)
    if isinstance(func, torch.jit.ScriptModule):
        names = [a.name for a in func.forward.schema.arguments[1:]] if kwargs else []
        return func, bind(names, args, kwargs), None
    if isinstance(func, torch.nn.Module):
        forward = func.forward
    elif callable(func) and not inspect.isclass(func) and not isinstance(func, torch.jit.ScriptFunction):
        forward, func = func, FunctionModule(func)
    else:
        raise _make(
            "wrong_type",
            f"trace() takes an nn.Module, a function or a ScriptModule, but a {type(func).__name__} was given",
        )
    with eval_mode(func):
        return traced_module(func, forward, args, kwargs)


def traced_module(module, forward, args, kwargs):
    names, args = fill_in(forward, args, kwargs)
    for name, value in zip(names, args):
        describe(value, name)
    if not all(map(is_plain, args)) and any(type(leaf) in CONSTANTS for leaf in leaves(args)):
        script = scripted(module, args)
        if script is not None:
            return script, args, None
    with torch.no_grad():
        output = call(module, names, args)
    inputs_plain, output_plain = all(map(is_plain, args)), is_plain(output)
    if inputs_plain and output_plain:
        return torch.jit.trace(module, tuple(args), strict=False, check_trace=False), args, None
    for leaf in leaves(output):
        if not isinstance(leaf, torch.Tensor):
            say(True, f"the model returns {leaf!r}, which is no tensor: it becomes a constant of the compiled model")
    structure = Structure(
        list(names),
        None if inputs_plain else [describe(value, name) for name, value in zip(names, args)],
        None if output_plain else describe(output, "the output"),
    )
    tensors = structure.tensors_of(tuple(args))
    flat = FlatModule(module, structure)
    return torch.jit.trace(flat, tensors, strict=False, check_trace=False), tensors, structure


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


def call(module, names, args):
    try:
        return module(*args)
    except Exception as e:
        raise _make("forward_failed", f"the module fails on the example: {type(e).__name__}: {e}") from e


class FunctionModule(torch.nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        super().__init__()
        self.forward = function
        self.training = False


class FlatModule(torch.nn.Module):
    """A module that takes and returns its tensors side by side."""

    def __init__(self, module, structure):
        super().__init__()
        self.module = module
        self.training = False
        self._structure = structure

    def forward(self, *tensors):
        shapes = self._structure.inputs
        if shapes is not None:
            rest = iter(tensors)
            tensors = [put_together(shape, rest) for shape in shapes]
        output = self.module(*tensors)
        if self._structure.output is None:
            return output
        return tuple(leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor))


@contextlib.contextmanager
def eval_mode(module):
    """The module in eval mode, and afterwards as it was."""
    training = [m for m in module.modules() if m.training]
    if training:
        say(True, "the module was in training mode; it was traced in eval mode")
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


# --- arguments
# -------------------------------------------------------------------------------------------------------


def example_tuple(example):
    """As torch.jit.trace reads it: a tensor or a dict is one argument, a tuple or a list holds all of them."""
    if isinstance(example, (torch.Tensor, dict)) or type(example) in CONSTANTS:
        return (example,)
    return tuple(example)


def fill_in(forward, args, kwargs):
    """Names and values of the arguments from the first to the last that is given, defaults between them included."""
    try:
        signature = inspect.signature(forward)
        bound = signature.bind(*args, **kwargs)
    except TypeError as e:
        raise _make("shape_mismatch", f"the example does not fit forward: {e}") from None
    given = list(bound.arguments)
    bound.apply_defaults()
    names, values = [], []
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}_{i}" for i in range(len(value))]
            values += value
        elif kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            if name in given and value:
                raise _make(
                    "shape_mismatch",
                    f"{name} can only be given by name, and a compiled model takes its arguments in order: "
                    "give forward a positional argument for it",
                )
        else:
            names.append(name)
            values.append(value)
    variadic = [n for n in given if signature.parameters[n].kind is inspect.Parameter.VAR_POSITIONAL]
    if not variadic:
        last = max((names.index(n) for n in given if n in names), default=-1)
        names, values = names[: last + 1], values[: last + 1]
    return names, values


def bind(names, args, kwargs):
    """The arguments in order. TypeError, as Python's own, for names that do not fit."""
    if not kwargs:
        return args
    values, rest = list(args), dict(kwargs)
    compiled = ", ".join(names)
    for name in rest:
        if name not in names:
            raise _make("wrong_type", f"the argument {name!r} is none of the compiled arguments, which are {compiled}")
        if name in names[: len(values)]:
            raise _make("wrong_type", f"the argument {name!r} was given twice")
    for name in names[len(values) :]:
        if not rest:
            break
        if name not in rest:
            raise _make("wrong_type", f"the argument {name!r} is missing: the compiled arguments are {compiled}")
        values.append(rest.pop(name))
    return tuple(values)
