"""torch.neuron.analyze_model."""

import collections

from . import _options
from ._scripting import script_module


def analyze_model(func, example_inputs, **compiler_options):
    """Prints which operators a model uses and how often, as scripts for torch.neuron ask before they trace.

    Every operator that TorchScript has is supported: what :func:`trace` makes runs as a whole on each core.

    Args:
        func, example_inputs, compiler_options: as for :func:`trace`.

    Returns:
        A dict from each operator, such as ``"aten::conv2d"``, to how often it stands in the model.

    Raises:
        What :func:`trace` raises for the model and its example.
    """
    _options.read(compiler_options)
    script, *_ = script_module(func, [example_inputs], {})
    counted = collections.Counter(node.kind() for node in nodes_of(script.inlined_graph))
    counts = {kind: counted[kind] for kind in sorted(counted) if not kind.startswith("prim::")}
    print("These operators are supported:")
    for kind, count in counts.items():
        print(f"{count:6} {kind}")
    total = sum(counts.values())
    print(f"100.00% of all operators ({total} of {total}) are supported", flush=True)
    return counts


def nodes_of(block):
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes_of(inner)
