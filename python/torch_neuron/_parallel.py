"""torch.neuron.DataParallel."""

import asyncio
import concurrent.futures
import contextlib
import operator
import threading

import torch

from . import _engine
from ._status import status_from
from ._structure import Structure
from ._trace import bind, compiled_of
from .errors import _make


class RequestFuture(concurrent.futures.Future):
    """The answer of a request to come. Wait for it with ``result()``, or on asyncio through ``async_forward``."""

    def __init__(self):
        super().__init__()
        self._cancelling = threading.Lock()

    def cancel(self):
        """Gives the request up, unless its answer is there: rows that are not begun are dropped.

        Who waits is told at once.
        """
        with self._cancelling:
            told = self.cancelled()
            if not super().cancel():
                return False
            if not told:
                self.set_running_or_notify_cancel()
                self._request.cancel()
        return True

    def _finish(self, value, exception):
        """Called once, by the engine's Python side. A future that was cancelled meanwhile stays so."""
        try:
            value = self._restore(value) if exception is None else None
        except Exception as e:
            exception = e
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if exception is not None:
                self.set_exception(exception)
            else:
                self.set_result(value)


class DataParallel(torch.nn.Module):
    """Runs a compiled model data-parallel on this process's NeuronCores.

    Each call scatters its inputs along ``dim``, runs the pieces on whichever core is free, and gathers the
    outputs in order. A NeuronCore here is a slot of CPU threads; ``python3 -m torch_neuron.doctor`` lists
    those that there are.

    Args:
        model: what :func:`trace` returned, or ``torch.jit.load`` of what it saved.
        device_ids: which cores, as ints or ``"nc:#"``: indices of this process, from 0. None: all.
        dim: the dimension along which inputs are scattered and outputs gathered; negative counts from the
            end.
        set_dynamic_batching: as in torch_neuronx; False: as after :meth:`disable_dynamic_batching`. None:
            where it is possible.
        num_workers: a cap on the executions in flight over all cores. None: as many as the cores take.
        split_size: rows of a chunk. None: the compiled batch.

    With *dynamic batching*, which is on where ``dim`` is 0 and the model's rows do not depend on each other,
    a call may have any number of rows. Without it, ``input.shape[dim] / len(device_ids)`` must be the
    compiled size exactly.

    Any number of threads may call one object. The GIL is free while cores run. Inputs are read where they
    are, without a copy: do not write to them before the answer is there. Answers are ordinary tensors of
    their own.

    Raises:
        TypeError: ``model`` is not a traced model, or a value has the wrong type.
        ValueError: ``invalid_device_id``, ``dim_out_of_range``, ``shape_mismatch``, ``invalid_argument``.
        RuntimeError: ``model_load_failed`` (a ScriptModule that was never traced), ``core_unavailable`` (a
            fork, or another process has the core), ``core_memory_exceeded``, ``forward_failed``,
            ``core_lost``.

    Example:
        >>> model_parallel = torch.neuron.DataParallel(model_neuron, device_ids=["nc:0", "nc:1"])
        >>> output = model_parallel(torch.rand([5, 3, 224, 224]))
    """

    def __init__(
        self, model, device_ids=None, dim=0, set_dynamic_batching=None, *, num_workers=None, split_size=None
    ):
        super().__init__()
        compiled = compiled_of(model)
        self.module = model
        self.__dict__.update(
            dim=_integer("dim", dim),
            _structure=Structure.of(model),
            _names=compiled.argument_names,
            _parallel=_engine.Parallel(
                compiled,
                device_ids,
                _integer("dim", dim),
                set_dynamic_batching is None or bool(set_dynamic_batching),
                None if num_workers is None else _integer("num_workers", num_workers),
                None if split_size is None else _integer("split_size", split_size),
            ),
        )
        if self._structure is not None:
            self.__dict__["_names"] = self._structure.names
        _engine.say_what_was_logged()

    # --- calls ----------------------------------------------------------------------------------------------

    def forward(self, *inputs, **kwargs):
        """Runs the model on the inputs and waits for the answer.

        Args:
            *inputs, **kwargs: what the model's forward takes. All tensors that are scattered have one size
                along ``dim``.

        Returns:
            What the model returns, with each tensor gathered along ``dim``. Tensors of no dimension become a
            vector with one element a chunk.

        Raises:
            ValueError: ``shape_mismatch`` (not what the model was compiled for), ``batch_size_mismatch``
                (without dynamic batching).
            RuntimeError: ``gather_mismatch``, ``forward_failed`` (the model's own error, with its rows and
                core),
                ``core_lost``, ``queue_full``, ``draining``.
            KeyboardInterrupt: on Ctrl-C; the object can be used on.
        """
        if kwargs:
            inputs = bind(self._names, inputs, kwargs)
        structure = self._structure
        if structure is None:
            return self._parallel.call(inputs)
        return structure.value_of(self._parallel.call(structure.tensors_of(inputs)))

    def submit(self, *inputs, timeout=None, priority="normal", tenant="", **kwargs):
        """The same without waiting.

        Args:
            *inputs, **kwargs: as for a call.
            timeout: seconds after which the answer is of no more use; None: no limit.
            priority: ``"high"``, ``"normal"`` or ``"low"``: which of the requests that wait goes first.
            tenant: whose request it is; tenants of one priority share the cores evenly.

        Returns:
            A ``concurrent.futures.Future``. Its ``result()`` returns or raises what the call would, and raises
            TimeoutError (``deadline_exceeded``) after the timeout. ``cancel()`` drops the rows that are not begun.
        """
        if kwargs:
            inputs = bind(self._names, inputs, kwargs)
        structure = self._structure
        if structure is not None:
            inputs = structure.tensors_of(inputs)
        future = RequestFuture()
        future._restore = _as_it_is if structure is None else structure.value_of
        future._request = self._parallel.submit(
            inputs, future, None if timeout is None else float(timeout), priority, tenant
        )
        return future

    async def async_forward(self, *inputs, timeout=None, priority="normal", tenant="", **kwargs):
        """The same on asyncio: ``output = await model_parallel.async_forward(x, timeout=0.5)``.

        A task that is cancelled while it waits cancels its request.
        """
        options = {"timeout": timeout, "priority": priority, "tenant": tenant}
        return await asyncio.wrap_future(self.submit(*inputs, **options, **kwargs))

    # --- settings -------------------------------------------------------------------------------------------

    def disable_dynamic_batching(self):
        """Turns dynamic batching off for all later calls of this object; there is no way back."""
        self._parallel.disable_dynamic_batching()

    @property
    def dynamic_batching(self):
        """Whether a call may have any number of rows."""
        return self._parallel.dynamic_batching

    @property
    def num_workers(self):
        """A cap on executions in flight over all cores, at least 1.

        While unset it reads 2 x cores, and the cores decide.
        """
        return self._parallel.num_workers

    @num_workers.setter
    def num_workers(self, n):
        self._parallel.num_workers = _integer("num_workers", n)

    @property
    def split_size(self):
        """Rows of a chunk, at least 1. None while unset: the compiled batch."""
        return self._parallel.split_size

    @split_size.setter
    def split_size(self, rows):
        self._parallel.split_size = _integer("split_size", rows)
        _engine.say_what_was_logged()

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def device_ids(self):
        """The cores in use, as indices of this process, in the order given."""
        return self._parallel.cores

    @property
    def warnings(self):
        """What its user should know, each said once through Python's ``warnings`` as well."""
        return self._parallel.warnings

    def status(self):
        """The engine at this moment: a :class:`Status`, which counts what all models of this process do."""
        return status_from(_engine.status())

    def close(self):
        """Gives the cores back. What was accepted is still answered; later calls raise RuntimeError (``draining``)."""
        self._parallel.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def extra_repr(self):
        if self._parallel.closed:
            return "closed"
        return f"device_ids={self.device_ids}, dim={self.dim}, dynamic_batching={self.dynamic_batching}"

    def __reduce_ex__(self, protocol):
        raise _make(
            "wrong_type",
            "a DataParallel belongs to the cores of its process and cannot be copied or pickled: save its model with "
            "torch.jit.save, and make another one there",
        )


def _as_it_is(value):
    return value


def _integer(name, value):
    if isinstance(value, bool):
        raise _make("wrong_type", f"{name} is {value}: give an int")
    try:
        return operator.index(value)
    except TypeError:
        raise _make("wrong_type", f"{name} is a {type(value).__name__}: give an int") from None
