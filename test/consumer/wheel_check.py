"""wheel_check.py VENV: what `pip install .` put into a venv works, and has its types."""

import importlib.metadata
import pathlib
import sys

import torch.neuron  # alone, as old scripts have it

import torch_neuron
import torch_neuronx

venv = pathlib.Path(sys.argv[1]).resolve()
folder = pathlib.Path(torch_neuron.__file__).resolve().parent
assert folder.is_relative_to(venv), f"torch_neuron is {folder}, which is not in {venv}"
assert pathlib.Path(torch_neuronx.__file__).resolve().is_relative_to(venv)
for name in ("py.typed", "__init__.pyi", "errors.pyi", "../torch_neuronx/py.typed"):
    assert (folder / name).exists(), f"the wheel has no {name}"
assert torch.neuron is torch_neuron and torch_neuron.__spec__.name == "torch_neuron"
assert importlib.metadata.version("ganglion-torch-neuron") == torch_neuron.__version__

model = torch.nn.Linear(4, 3).eval()
with torch.neuron.DataParallel(torch.neuron.trace(model, torch.rand(2, 4))) as parallel, torch.no_grad():
    x = torch.rand(7, 4)
    assert torch.allclose(parallel(x), model(x), atol=1e-5)
print(f"torch_neuron {torch_neuron.__version__} works in {folder}")
