"""What torch.neuron.trace and torch_neuronx.trace take for Neuron's compiler, and what becomes of it here."""

import enum
import shlex

from ._warnings import say
from .errors import _make


class Optimization(enum.Enum):
    """Passes of Neuron's compiler, for scripts that name them; here they have no effect. See ``trace(auto_cast=)``."""

    FLOAT32_TO_FLOAT16 = "float32_to_float16"


#: True here whatever is given: every operator runs on the core, the module that is returned takes any number of rows,
#: weights stand beside the program, containers are allowed, and programs are compared with the module.
GRANTED = frozenset(
    "fallback dynamic_batch_size separate_weights inline_weights_to_neff cpu_backend strict check_trace".split()
)
#: What only Neuron's compiler could do something with.
WITHOUT_EFFECT = frozenset(
    """
    compiler_args compiler_workdir compiler_timeout optimizations verbose skip_compiler debug_must_trace
    allow_no_ops_on_neuron op_whitelist minimum_segment_size single_fusion_ratio_threshold subgraph_builder_function
    subgraph_inputs_pruning partitioner_config optimize
    """.split()
)
PIPELINE = "--neuroncore-pipeline-cores"


def read(options):
    """Checks the options, warns once of those without effect, and returns how many cores a pipeline was to have."""
    for name, value in options.items():
        if name == "input_output_aliases":
            if value:
                raise _make(
                    "unsupported_model",
                    "input_output_aliases asks for state that stays on the cores, but a compiled model keeps none: "
                    "return the state as an output, and give it to the next call as an input",
                )
        elif name not in GRANTED | WITHOUT_EFFECT:
            raise _make("wrong_type", f"trace() got the unknown argument {name!r}")
    cores = pipeline_cores(options.get("compiler_args"))
    said = [f"{name} ({_brief(options[name])})" for name in sorted(WITHOUT_EFFECT & set(options)) if options[name]]
    if said:
        say(
            True,
            f"{', '.join(said)}: without effect here, since there is no Neuron compiler; the whole model runs on "
            "each core, and auto_cast says in what it computes",
        )
    if cores > 1:
        say(
            True,
            f"compiler_args ask for a NeuronCore Pipeline of {cores} cores: the model can be called, but DataParallel "
            "does not take it; leave the option out to run it on all cores",
        )
    return cores


def pipeline_cores(args):
    """The number behind ``--neuroncore-pipeline-cores`` in compiler_args, which are a list or a text; else 1."""
    if not args:
        return 1
    try:
        words = shlex.split(args) if isinstance(args, str) else [str(arg) for arg in args]
    except (TypeError, ValueError):
        raise _make(
            "wrong_type", f"compiler_args is {args!r}: give a list of str, as for the command line of a compiler"
        ) from None
    for word, following in zip(words, words[1:] + [""]):
        name, equals, value = word.partition("=")
        if name == PIPELINE:
            value = value if equals else following
            if not value.isdecimal() or int(value) < 1:
                raise _make("invalid_argument", f"{PIPELINE} is {value!r}: give the number of cores, at least 1")
            return int(value)
    return 1


def _brief(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
