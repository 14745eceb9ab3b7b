"""torch.neuron.trace."""

import itertools
import json

import torch

from . import _engine, _options
from ._arguments import Parameters, parameters_of
from ._checks import by_name, natural, not_negative, number, several
from ._scripting import script_module
from ._structure import Structure
from ._warnings import say
from .errors import _make

SIGNATURE = "ganglion_signature"


class NeuronModule(torch.jit.RecursiveScriptModule):
    """A compiled model: the ScriptModule that :func:`trace` returns.

    Call it like the original; it then runs on the calling thread, at any batch size. Give it to
    :class:`DataParallel` to run it on the cores. ``torch.jit.save(model, path)`` keeps all that was found out
    about it; ``torch.jit.load(path)`` gives a ScriptModule that DataParallel takes as well, and the file runs
    under the command ``ganglion run``. Where Python's values differ from TorchScript's, its ``forward``, and what
    ``torch.jit.load`` gave when it is called itself, take and return the tensors side by side.
    """

    def __call__(self, *args, **kwargs):
        structure = Structure.of(self)
        if structure is None:
            return super().__call__(*args, **kwargs)
        if structure.inputs is None:
            return structure.value_of(super().__call__(*args, **kwargs))
        args = Parameters(structure.names, structure.defaults).values(args, kwargs)
        return structure.value_of(super().__call__(*structure.tensors_of(args)))

    def __copy__(self):
        return as_neuron_module(super().__copy__(), Structure.of(self))

    def __deepcopy__(self, memo):
        return as_neuron_module(super().__deepcopy__(memo), Structure.of(self))

    def _compiled(self):
        """The compiled model, while the weights are those that it was compiled with."""
        compiled, weights = self.__dict__.get("_ganglion_compiled", (None, None))
        if compiled is not None and weights != weights_of(self):
            raise _make(
                "model_load_failed",
                "the weights of this traced model were changed since: change those of the model, and trace it again",
            )
        return compiled


def trace(
    func,
    example_inputs,
    *,
    example_kwarg_inputs=None,
    more_examples=(),
    auto_cast="none",
    tune=True,
    threads=1,
    max_deviation=None,
    calibration=(),
    check_inputs=None,
    check_tolerance=None,
    **compiler_options,
):
    """Compiles a model for the exact shape of an example.

    Args:
        func: an ``nn.Module``, a method of one, a function of tensors (of TorchScript too), or a ScriptModule. It stays
            as it is; what is compiled is a copy in eval mode.
        example_inputs: a tensor, or a tuple with one value an argument: tensors, numbers, strings, None, and
            tuples, lists, dicts and namedtuples of such. Sizes and dtypes become those that the model takes;
            the size along dim 0 is the compiled batch, the rows of one execution. No dimension may be empty.
        example_kwarg_inputs: a dict of further arguments by name.
        more_examples: a list of further examples, each like ``example_inputs`` with the values of
            ``example_kwarg_inputs`` behind it. Each gets a program of its own in the same model, over the same
            weights: of several batch sizes the cheapest runs, and of other sizes (lengths) the one that fits; see
            ``DataParallel(pad_values=)``. No two examples may have the same sizes.
        auto_cast: ``"none"``, or ``"bf16"`` to compute in bfloat16 inside. Inputs and outputs keep the
            example's dtypes.
        tune: whether to time the possible programs (seconds) and keep the fastest; else the frozen module is
            taken.
        threads: the intra-op threads of the cores that will run it (``configure(threads_per_core=)``), with which
            programs are timed.
        max_deviation: with ``"bf16"``, how far a program's answers may be from the model's, as the norm of the
            difference over the norm of the answer. None: 0.05.
        calibration: a list of further inputs, each like ``example_inputs`` but with any number of rows, on which
            programs are compared with the model.
        check_inputs: a list of tuples of arguments on which what was traced is compared with ``func`` as well.
        check_tolerance: how far the two may be apart, relative and absolute; None: 1e-4 (half precision: more).
        compiler_options: what torch.neuron.trace and torch_neuronx.trace take beside these. Taken, since it is so here
            anyway: ``fallback``, ``dynamic_batch_size``, ``separate_weights``, ``inline_weights_to_neff``,
            ``cpu_backend``, ``strict``, ``check_trace``. Without effect, which a warning says: ``compiler_args``,
            ``compiler_workdir``, ``compiler_timeout``, ``optimizations``, ``verbose``, ``skip_compiler``,
            ``op_whitelist``, ``minimum_segment_size``, ``single_fusion_ratio_threshold``,
            ``subgraph_builder_function``, ``subgraph_inputs_pruning``, ``debug_must_trace``,
            ``allow_no_ops_on_neuron``, ``partitioner_config``, ``optimize``. ``input_output_aliases`` is refused. With
            ``compiler_args=["--neuroncore-pipeline-cores", "4"]`` the model can be called, but DataParallel refuses
            it, as torch.neuron's does.

    Returns:
        A :class:`NeuronModule`, which is a ScriptModule.

    A module that takes or returns what TorchScript has no type for (namedtuples, dicts of different things,
    None), that returns containers in a list or dict, or that has arguments which can only be given by name, is traced
    with its tensors side by side: called from Python it takes and returns what it always did.
    Values that are no tensors are kept live where the module can be scripted (``torch.jit.script``); else
    those of the example become a part of the model, and another value at a call is refused.

    Raises:
        TypeError: ``func`` is no module or function, the example or the answer holds what no model takes or returns, an
            argument has the wrong type, or an option is unknown.
        ValueError: ``shape_mismatch`` (the example does not fit forward), ``invalid_argument`` (no tensor in
            it, or an empty one; two examples of the same sizes).
        RuntimeError: ``unsupported_model`` (``torch.jit.trace`` cannot trace it, calls a DataParallel, changes its own
            attributes, has training wired in, returns no tensor, or its trace does not do for another example what it
            does), ``forward_failed`` (fails on the example).
        KeyboardInterrupt: on Ctrl-C, when the run of the model that is under way has ended.

    Example:
        >>> model_neuron = torch.neuron.trace(model, torch.rand([1, 3, 224, 224]))
    """
    _engine.refuse_at_the_end()
    pipeline_cores = _options.read(compiler_options)
    if auto_cast not in ("none", "bf16"):
        raise _make("invalid_argument", f"auto_cast is {auto_cast!r}: give 'none' or 'bf16'")
    lists = {"more_examples": more_examples, "calibration": calibration, "check_inputs": check_inputs}
    more, further, checks = (several(name, () if value is None else value, "examples") for name, value in lists.items())
    options = {
        "bf16": auto_cast == "bf16",
        "tune": bool(tune),
        "threads": natural("threads", threads),
        "max_deviation": None if max_deviation is None else number("max_deviation", max_deviation),
    }
    kwargs = {} if example_kwarg_inputs is None else by_name("example_kwarg_inputs", example_kwarg_inputs)
    tolerance = None if check_tolerance is None else not_negative("check_tolerance", check_tolerance)
    script, arguments, options["calibration"], structure = script_module(
        func, [example_inputs, *more], kwargs, checks, tolerance, further
    )
    if structure is not None:
        script._c._register_attribute(Structure.ATTRIBUTE, torch._C.StringType.get(), structure.to_json())
    compiled = _engine.compile(script._c, list(map(tuple, arguments)), options)
    for sentence in compiled.warnings:
        say(True, sentence)
    module = as_neuron_module(torch.jit._recursive.wrap_cpp_module(compiled.module()), structure)
    if pipeline_cores == 1:
        module.__dict__["_ganglion_compiled"] = compiled, weights_of(module)
    else:
        declare_pipeline(module, pipeline_cores)
    return module


def as_neuron_module(module, structure):
    module.__class__ = NeuronModule
    if structure is not None:
        structure.put_into(module)
    return module


def weights_of(module):
    """Which tensors a module has, and how often each was written to; None where that is not known.

    Those of a compiled model are ordinary tensors also where it was traced in inference mode; inference tensors were
    put in their place.
    """
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    return [(name, t.data_ptr(), t.dtype, None if t.is_inference() else t._version) for name, t in tensors]


def declare_pipeline(module, cores):
    """Lets a module say, wherever it is loaded, that it was compiled for a NeuronCore Pipeline."""
    signature = json.loads(getattr(module, SIGNATURE))
    setattr(module, SIGNATURE, json.dumps({**signature, "pipeline_cores": cores}))


def parameters_compiled(model, compiled, structure):
    """The Parameters by which a traced model is called."""
    if structure is not None and not structure.live:
        return Parameters(structure.names, structure.defaults)
    return parameters_of(model, compiled.argument_names)


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
