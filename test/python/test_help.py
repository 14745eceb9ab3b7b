"""What help() says, and the types that the stubs have."""

import ast
import importlib
import inspect
import operator
import os
import re

import pytest
import torch_neuron


def test_help_reads_well():
    for thing in (torch_neuron, torch_neuron.trace, torch_neuron.DataParallel):
        assert len(inspect.getdoc(thing).splitlines()) > 5
    public = [v for k, v in vars(torch_neuron.DataParallel).items() if not k.startswith("_") and k != "extra_repr"]
    assert all(inspect.getdoc(v) for v in public)
    for name in torch_neuron.__all__:
        assert getattr(torch_neuron, name).__doc__


def arguments_told(thing):
    """The names that the section Args of a docstring explains."""
    section = inspect.getdoc(thing).partition("Args:\n")[2].partition("\n\n")[0]
    heads = re.findall(r"^ {4}([\w*][\w*, ]*):", section, re.MULTILINE)
    return {name.strip("* ") for head in heads for name in head.split(",")}


CALLED = ["trace", "analyze_model", "configure", "DataParallel", "DataParallel.forward", "DataParallel.submit"]


@pytest.mark.parametrize("name", CALLED)
def test_help_explains_every_argument_and_what_is_raised(name):
    thing = operator.attrgetter(name)(torch_neuron)
    wanted = set(inspect.signature(thing).parameters) - {"self"}
    assert arguments_told(thing) == wanted
    text = inspect.getdoc(thing).partition("Raises:\n")[2]
    assert text and (name == "analyze_model" or all(kind in text for kind in ("TypeError", "ValueError")))


def test_help_gives_units_and_shapes():
    said = {name: re.sub(r"\s+", " ", inspect.getdoc(operator.attrgetter(name)(torch_neuron))) for name in CALLED}
    for name, words in {
        "DataParallel": ["max_queue_delay: seconds", "ageing: seconds", "split_size: rows", "compiled size exactly"],
        "DataParallel.forward": ["one size along ``dim``", "gathered along ``dim``", "one element a chunk"],
        "DataParallel.submit": ["timeout: seconds", "must not block"],
        "trace": ["the size along dim 0 is the compiled batch", "(seconds)", "No dimension may be empty"],
        "configure": ["seconds", "65,536 rows and 1 GiB", "bytes of weights"],
    }.items():
        assert [word for word in words if word not in said[name]] == [], name


def test_the_errors_that_help_speaks_of_are_codes():
    """Those of docs/errors.md, which is of the same codes as the engine."""
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "docs")
    with open(os.path.join(folder, "errors.md")) as file:
        codes = set(re.findall(r"`(\w+)`", file.read()))
    for name in [*CALLED, "DataParallel.replace"]:
        raised = inspect.getdoc(operator.attrgetter(name)(torch_neuron)).partition("Raises:\n")[2]
        told = {code for code in re.findall(r"``([a-z]+_[a-z_]+|draining)``", raised)} - {"more_examples"}
        assert told <= codes, (name, told - codes)


def test_the_stubs_name_what_there_is():
    folder = os.path.dirname(torch_neuron.__file__)
    stub = ast.parse(open(os.path.join(folder, "__init__.pyi")).read())
    for node in ast.walk(stub):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                assert hasattr(importlib.import_module(node.module), alias.name), alias.name
    # Those that torch.jit imports are none of its own for mypy --strict.
    assert not any(ast.unparse(node).startswith("torch.jit.") for node in ast.walk(stub) if isinstance(node, ast.expr))
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    imported = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(torch_neuron.__all__) <= set(classes) | functions | imported
    stubbed = {n.name for n in classes["DataParallel"].body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert ast.literal_eval(next(n.value for n in stub.body if isinstance(n, ast.Assign))) == torch_neuron.__all__
    stubbed |= {n.target.id for n in classes["DataParallel"].body if isinstance(n, ast.AnnAssign)}
    assert {k for k in vars(torch_neuron.DataParallel) if not k.startswith("_")} - {"extra_repr"} <= stubbed
    for name, node in [(n.name, n) for n in stub.body if isinstance(n, ast.FunctionDef)] + [
        (f"DataParallel.{n.name}", n)
        for n in classes["DataParallel"].body
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and not n.decorator_list and n.name != "__call__"
    ]:
        there = operator.attrgetter(name)(torch_neuron)
        stubbed = [a.arg for a in node.args.args + node.args.kwonlyargs]
        stubbed += [a.arg for a in (node.args.vararg, node.args.kwarg) if a]
        assert sorted(stubbed) == sorted(inspect.signature(there).parameters), name
    assert os.path.exists(os.path.join(folder, "py.typed"))
