"""Lets scripts say ``import torch.neuron`` without ``import torch_neuron`` before it.

Python runs this at its start where the wheel is installed, so it does nothing until that name is asked for.
"""

import sys
from importlib.machinery import ModuleSpec


class Finder:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name == "torch.neuron" else None

    def create_module(self, spec):
        import torch_neuron

        self._own_spec = torch_neuron.__spec__
        return torch_neuron

    def exec_module(self, module):
        module.__spec__ = self._own_spec


sys.meta_path.append(Finder())
