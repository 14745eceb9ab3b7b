from torch_neuron import *
from torch_neuron import DataParallel as DataParallel
from torch_neuron import __all__ as __all__
from torch_neuron import __version__ as __version__
from torch_neuron import trace as trace
