"""The names of torch_neuronx for what torch_neuron has: ``trace`` and ``DataParallel(..., set_dynamic_batching=)``."""

import torch_neuron as _torch_neuron
from torch_neuron import *  # noqa: F401,F403
from torch_neuron import __all__, __version__  # noqa: F401

import torch as _torch

_torch.neuronx = _torch_neuron
