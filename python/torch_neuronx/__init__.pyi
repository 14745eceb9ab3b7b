from torch_neuron import *
from torch_neuron import DataParallel as DataParallel
from torch_neuron import trace as trace
