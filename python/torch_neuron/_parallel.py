"""torch.neuron.DataParallel."""

import asyncio
import threading
import weakref

import torch

from . import _engine
from ._checks import integer, number, numbers, text
from ._futures import RequestFuture, _waiting
from ._status import status_from
from ._structure import Structure
from ._trace import compiled_of, parameters_compiled
from ._warnings import here
from .errors import NeuronError, NeuronValueError, _make


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
        max_queue_delay: seconds that a batch which is not full may wait for rows of other calls, counted from its
            oldest row. 0: what waits when a core becomes free goes together, and no core waits for more.
        ageing: seconds after which a request that waits rises by one priority. 0: never. None: 1.
        deterministic: whether rows of the same sizes always run on the same program, so that the bits of an answer do
            not depend on what else is there.
        pad_values: for a model with ``more_examples`` of several lengths: what shorter inputs are filled up with, a
            number, or a list with one for each tensor input; answers are trimmed again. None: inputs must be exactly
            as long as a program's.

    With *dynamic batching*, which is on where ``dim`` is 0 and the model's rows do not depend on each other,
    a call may have any number of rows. Without it, ``input.shape[dim] / len(device_ids)`` must be the
    compiled size exactly.

    Any number of threads may call one object. The GIL is free while cores run. Inputs are read where they
    are, without a copy: do not write to them before the answer is there. Answers are ordinary tensors of
    their own.

    Raises:
        TypeError: ``model`` is not a traced model, or a value has the wrong type.
        ValueError: ``invalid_device_id``, ``dim_out_of_range``, ``shape_mismatch``, ``invalid_argument``.
        RuntimeError: ``model_load_failed`` (a ScriptModule that was never traced), ``unsupported_model`` (one for a
            NeuronCore Pipeline), ``core_unavailable`` (a fork, or another process has the core),
            ``core_memory_exceeded``, ``forward_failed``, ``core_lost``.
        KeyboardInterrupt: on Ctrl-C while the model is being loaded, which ends then.

    Example:
        >>> model_parallel = torch.neuron.DataParallel(model_neuron, device_ids=["nc:0", "nc:1"])
        >>> output = model_parallel(torch.rand([5, 3, 224, 224]))
    """

    def __init__(
        self,
        model,
        device_ids=None,
        dim=0,
        set_dynamic_batching=None,
        *,
        num_workers=None,
        split_size=None,
        max_queue_delay=0,
        ageing=None,
        deterministic=False,
        pad_values=None,
    ):
        """See the class."""
        super().__init__()
        _engine.require_usable()
        compiled = compiled_of(model)
        self.module = model
        structure = Structure.of(model)
        options = {
            "device_ids": device_ids,
            "dim": integer("dim", dim),
            "dynamic_batching": set_dynamic_batching is None or bool(set_dynamic_batching),
            "num_workers": None if num_workers is None else integer("num_workers", num_workers),
            "split_size": None if split_size is None else integer("split_size", split_size),
            "max_queue_delay": number("max_queue_delay", max_queue_delay),
            "ageing": None if ageing is None else number("ageing", ageing),
            "deterministic": bool(deterministic),
            "pad_values": numbers("pad_values", pad_values),
        }
        self.__dict__.update(
            _dim=options["dim"],
            _structure=structure,
            _arguments=parameters_compiled(model, compiled, structure),
            _replacing=threading.Lock(),
            _parallel=_engine.Parallel(compiled, options),
        )
        _engine.say_what_was_logged(own=self._parallel)

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
            TypeError: a value that no model takes, or a name that does not fit.
            ValueError: ``shape_mismatch`` (not what the model was compiled for), ``batch_size_mismatch``
                (without dynamic batching), ``invalid_argument`` (an int or a str that no model can have; called by an
                operator of a model, on a thread of the engine).
            RuntimeError: ``gather_mismatch``, ``forward_failed`` (the model's own error, with its rows and
                core), ``core_lost``, ``core_unavailable`` (in a fork), ``core_memory_exceeded``, ``queue_full``,
                ``draining``, ``unsupported_model`` (called by a model that is being traced).
            KeyboardInterrupt: on Ctrl-C; the object can be used on.
        """
        _refuse_tracing()
        inputs = self._arguments.values(inputs, kwargs)
        structure = self._structure
        if structure is None:
            return self._parallel.call(inputs)
        return structure.value_of(self._parallel.call(structure.tensors_of(inputs)))

    def load_state_dict(self, state_dict, strict=True):
        """Refused with RuntimeError (``unsupported_model``): the cores run programs that were made of the weights."""
        raise _make(
            "unsupported_model",
            "the weights of a DataParallel cannot be changed: trace the model with the new ones, and replace() it",
        )

    def submit(self, *inputs, timeout=None, priority="normal", tenant="", **kwargs):
        """Runs the model on the inputs without waiting.

        Args:
            *inputs, **kwargs: as for a call. Arguments of the model's own that are called ``timeout``, ``priority`` or
                ``tenant`` are given by position, those that forward takes by name only behind the others.
            timeout: seconds after which the answer is of no more use; None: no limit.
            priority: ``"high"``, ``"normal"`` or ``"low"``: which of the requests that wait goes first.
            tenant: whose request it is, a str; tenants of one priority share the cores evenly.

        Returns:
            A ``concurrent.futures.Future``. Its ``result()`` returns or raises what the call would, and raises
            TimeoutError (``deadline_exceeded``) after the timeout. ``cancel()`` drops the rows that are not begun.
            Callbacks must not block: no other future is told its answer while one runs.

        Raises:
            What is wrong with the call itself; the rest comes through the future.
            TypeError: a value that no model takes, or a name that does not fit.
            ValueError: ``invalid_argument``: a timeout, a priority, a tenant, an int or a str that cannot be.
            RuntimeError: ``draining`` (closed, or the interpreter is ending), ``core_unavailable`` (in a fork),
                ``unsupported_model`` (called by a model that is being traced).
        """
        return self._submit(here(), inputs, kwargs, timeout, priority, tenant)

    def async_forward(self, *inputs, timeout=None, priority="normal", tenant="", **kwargs):
        """Runs the model on asyncio: ``output = await model_parallel.async_forward(x, timeout=0.5)``.

        Takes what :meth:`submit` takes, returns and raises what a call does, and TimeoutError (``deadline_exceeded``)
        after the timeout. A task that is cancelled while it waits cancels its request.
        """
        return self._awaited(here(), inputs, kwargs, timeout, priority, tenant)  # the line that calls, not asyncio's

    async def _awaited(self, *request):
        return await asyncio.wrap_future(self._submit(*request))

    def _submit(self, place, inputs, kwargs, timeout, priority, tenant):
        _refuse_tracing()
        own = self._arguments.names[len(inputs) :]
        of_request = {"timeout": (timeout, None), "priority": (priority, "normal"), "tenant": (tenant, "")}
        for name, (value, unset) in of_request.items():
            if name in own and not (type(value) is type(unset) and value == unset):
                raise _make(
                    "wrong_type",
                    f"{name}= is the request's, but the model has an argument of that name: give the model's by "
                    f"position, in the order ({self._arguments})",
                )
        inputs = self._arguments.values(inputs, kwargs)
        seconds = None if timeout is None else number("timeout", timeout)
        options = seconds, text("priority", priority), text("tenant", tenant)
        structure = self._structure
        future = RequestFuture()
        future._place, future._whose = place, weakref.ref(self._parallel)
        future._restore = _as_it_is if structure is None else structure.value_of
        if structure is not None:
            try:
                inputs = structure.tensors_of(inputs)
            except NeuronValueError as e:  # as other shapes of tensors
                future.set_exception(e)
                return future
        _waiting.add(future)
        try:
            future._request = self._parallel.submit(inputs, future, *options)
        except BaseException:
            _waiting.discard(future)
            raise
        return future

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
        self._parallel.num_workers = integer("num_workers", n)

    @property
    def split_size(self):
        """Rows of a chunk, at least 1. None, to which it can be set again: the compiled batch."""
        return self._parallel.split_size

    @split_size.setter
    def split_size(self, rows):
        self._parallel.split_size = None if rows is None else integer("split_size", rows)
        _engine.say_what_was_logged(own=self._parallel)

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def dim(self):
        """The dimension along which inputs are scattered and outputs gathered, as given when it was made."""
        return self._dim

    @dim.setter
    def dim(self, dim):
        raise _make("invalid_argument", f"dim is {self._dim} for good: make another DataParallel with dim={dim!r}")

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

    def replace(self, model):
        """Puts another traced model in the place of this one, while calls come and run; returns when it serves.

        Calls that came before are answered wholly by the old model, those that come after it by the new one, and none
        is refused for it. The new one takes and returns what the old one does, in arguments of the same names and
        defaults; it is loaded beside it on the same cores. All settings stay. Where it cannot be loaded, the old model
        serves on. Several replacements are done one after the other.
        On asyncio: ``await asyncio.to_thread(model_parallel.replace, model)``.

        Raises:
            TypeError: ``model`` is not a traced model.
            ValueError: ``shape_mismatch`` (other arguments, inputs or outputs).
            RuntimeError: ``unsupported_model`` (rows that depend on each other, where the old one's do not), and what
                making a DataParallel raises.
            KeyboardInterrupt: on Ctrl-C; the new model takes its place all the same, when it is loaded, and ``module``
                is the new one already.
        """
        _engine.require_usable()
        compiled = compiled_of(model)
        structure = Structure.of(model)
        parameters = str(parameters_compiled(model, compiled, structure))
        if parameters != str(self._arguments):
            raise _make(
                "shape_mismatch",
                f"the new model takes the arguments ({parameters}), but the old one ({self._arguments}), by whose "
                "names calls give them: give the new one's forward those, or make another DataParallel for it",
            )
        if structure != self._structure:
            raise _make(
                "shape_mismatch",
                "the new model takes or returns other structures, or other values that are no tensors, than the old "
                "one: make another DataParallel for it",
            )
        with self._replacing:
            try:
                self._parallel.replace(compiled)
            except NeuronError:
                raise
            except BaseException:  # Ctrl-C, or a warning that is an error: the new one comes all the same
                self.module = model
                raise
            self.module = model

    def close(self):
        """Gives the cores back. What was accepted is still answered; later calls raise RuntimeError (``draining``)."""
        self._parallel.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def extra_repr(self):
        """What ``print`` says of it."""
        if self._parallel.closed:
            return "closed"
        try:
            return f"device_ids={self.device_ids}, dim={self.dim}, dynamic_batching={self.dynamic_batching}"
        except NeuronError as e:  # in a fork, or at the end
            return f"{e.code}, dim={self.dim}"

    def __reduce_ex__(self, protocol):
        raise _make(
            "wrong_type",
            "a DataParallel belongs to the cores of its process and cannot be copied or pickled: save its model with "
            "torch.jit.save, and make another one there",
        )


def _refuse_tracing():
    """What the cores compute is no part of a trace, in which the answer would stand as a constant."""
    if torch.jit.is_tracing():
        raise _make(
            "unsupported_model",
            "a DataParallel cannot be traced, by itself or in a model: trace the model, then make the DataParallel of "
            "what trace() returned",
        )


def _as_it_is(value):
    return value
