"""The exceptions of torch_neuron.

Each is a :class:`NeuronError` and one of Python's own types, so both ``except ValueError`` and
``except torch_neuron.NeuronError`` work. The codes are those of Ganglion's docs/errors.md.
"""

import concurrent.futures


class NeuronError(Exception):
    """What all errors of torch_neuron have beside their sentence.

    Attributes:
        code: the stable name of what went wrong, such as ``"shape_mismatch"``.
        retryable: whether the same call may succeed later with nothing changed.
        rows: ``(first, last)`` rows of the request that the error is about, last excluded; None for the
            whole.
        core: the index in this process of the core on which it happened; None where no core was involved.
    """

    code = "invalid_argument"
    retryable = False
    rows = None
    core = None

    def __reduce__(self):
        return _restore, (type(self), self.args, dict(self.__dict__))


class NeuronValueError(NeuronError, ValueError):
    """A value that cannot be: a device id, a dim, a shape, a batch size."""


class NeuronTypeError(NeuronError, TypeError):
    """A value of a type that cannot be used there."""


class NeuronRuntimeError(NeuronError, RuntimeError):
    """The work failed, or cannot be done now."""


class NeuronTimeoutError(NeuronError, TimeoutError):
    """The time that the call was given was over before its answer was complete."""


class NeuronOSError(NeuronError, OSError):
    """A file cannot be read or written."""


class NeuronCancelledError(NeuronError, concurrent.futures.CancelledError):
    """The caller cancelled the request."""


_CLASSES = {
    "wrong_type": NeuronTypeError,
    "invalid_argument": NeuronValueError,
    "invalid_device_id": NeuronValueError,
    "dim_out_of_range": NeuronValueError,
    "shape_mismatch": NeuronValueError,
    "batch_size_mismatch": NeuronValueError,
    "deadline_exceeded": NeuronTimeoutError,
    "cancelled": NeuronCancelledError,
    "io_failed": NeuronOSError,
}


def _make(code, text, retryable=False, first_row=-1, last_row=-1, core=-1):
    """The exception for a code and its sentence. ``wrong_type`` is Python's alone; its code is invalid_argument."""
    error = _CLASSES.get(code, NeuronRuntimeError)(text)
    error.code = "invalid_argument" if code == "wrong_type" else code
    error.retryable = retryable
    error.rows = (first_row, last_row) if first_row >= 0 else None
    error.core = core if core >= 0 else None
    return error


def _restore(kind, args, state):
    error = kind(*args)
    error.__dict__.update(state)
    return error
