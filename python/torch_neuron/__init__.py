"""torch.neuron on the CPUs of today: the API of torch-neuron, with Ganglion's engine underneath.

    import torch
    import torch_neuron

    model_neuron = torch.neuron.trace(model, torch.rand([1, 3, 224, 224]))
    model_parallel = torch.neuron.DataParallel(model_neuron)
    output = model_parallel(torch.rand([5, 3, 224, 224]))

``torch.neuron`` is this package. The cores are those of the machine's CPUs, or as the environment says when
the first DataParallel is made: NEURON_RT_VISIBLE_CORES, NEURON_RT_NUM_CORES, and GANGLION_HOST_CORES=16 for a
host that has as many.
``python3 -m torch_neuron.doctor`` says whether all is well.
"""

import atexit as _atexit
import sys as _sys

try:
    import torch as _torch

    from . import _engine
except (ImportError, OSError) as _problem:
    from . import doctor as _doctor

    _doctor.run_if_called()  # python3 -m torch_neuron.doctor begins here: its answer is more than an exception's
    raise ImportError(_doctor.explanation(_problem)) from _problem

from ._analysis import analyze_model
from ._configuration import configure
from ._options import Optimization
from ._parallel import DataParallel, RequestFuture
from ._status import CoreStatus, ModelStatus, Status, status_from as _status_from
from ._trace import NeuronModule, trace
from ._warnings import NeuronWarning
from .errors import (
    NeuronCancelledError,
    NeuronError,
    NeuronOSError,
    NeuronRuntimeError,
    NeuronTimeoutError,
    NeuronTypeError,
    NeuronValueError,
)

__version__ = _engine.__version__
__all__ = [
    "CoreStatus",
    "DataParallel",
    "ModelStatus",
    "NeuronCancelledError",
    "NeuronError",
    "NeuronModule",
    "NeuronOSError",
    "NeuronRuntimeError",
    "NeuronTimeoutError",
    "NeuronTypeError",
    "NeuronValueError",
    "NeuronWarning",
    "Optimization",
    "RequestFuture",
    "Status",
    "analyze_model",
    "configure",
    "status",
    "trace",
]


def status():
    """The cores of this process and what waits for them: a :class:`Status`.

    Makes the engine where there is none yet.
    """
    return _status_from(_engine.status())


_torch.neuron = _sys.modules[__name__]
_sys.modules.setdefault("torch.neuron", _sys.modules[__name__])
_atexit.register(_engine.end)
