"""The engine of this process, before it is made."""

import os

from . import _engine
from ._checks import natural, number, several, text


def configure(
    *,
    host_cores=None,
    threads_per_core=None,
    pin=True,
    cpus=None,
    idle_spin=None,
    core_memory_bytes=None,
    max_queued_rows=None,
    max_queued_bytes=None,
    max_queue_time=None,
    max_execution_time=None,
    max_load_step_time=None,
    trace_out=None,
):
    """Says how the engine of this process is to be made. None: the default. A second call replaces the first.

    Args:
        host_cores: how many cores the host has; wins over GANGLION_HOST_CORES.
        threads_per_core: intra-op threads of a core; 1.
        pin: whether each core is pinned to CPUs of its own.
        cpus: which CPUs to use, a list of their numbers; all that the process may use.
        idle_spin: seconds for which a core that has run out of work looks for more before it sleeps; 0.00005.
        core_memory_bytes: the most bytes of weights on one core; more is ``core_memory_exceeded``. No limit.
        max_queued_rows, max_queued_bytes: what may wait; more is ``queue_full``. 65,536 rows and 1 GiB.
        max_queue_time: the most seconds that a call may be expected to wait; longer is ``queue_full``. No limit.
        max_execution_time, max_load_step_time: seconds after which a core in the middle of an execution, or of a step
            of loading, is taken to hang: it starts again on a fresh thread, and others do its work. No limit.
        trace_out: a file for a timeline of the run, in the trace-event format that Perfetto opens. None.

    Raises:
        ValueError: ``invalid_argument``: the engine was made already, by the first DataParallel or ``status()``. Values
            that cannot be are told when it is made.
        TypeError: a value has the wrong type.

    Example:
        >>> torch_neuron.configure(max_queue_time=0.5, max_execution_time=30)
    """
    whole = {
        "host_cores": host_cores,
        "threads_per_core": threads_per_core,
        "core_memory_bytes": core_memory_bytes,
        "max_queued_rows": max_queued_rows,
        "max_queued_bytes": max_queued_bytes,
    }
    seconds = {
        "idle_spin": idle_spin,
        "max_queue_time": max_queue_time,
        "max_execution_time": max_execution_time,
        "max_load_step_time": max_load_step_time,
    }
    options = {name: natural(name, value) for name, value in whole.items() if value is not None}
    options.update((name, number(name, value)) for name, value in seconds.items() if value is not None)
    if cpus is not None:
        cpus = several("cpus", cpus, "numbers of CPUs")
        options["cpus"] = [natural(f"cpus[{i}]", cpu, 31) for i, cpu in enumerate(cpus)]
    if trace_out is not None:
        path = os.fspath(trace_out) if isinstance(trace_out, os.PathLike) else trace_out
        options["trace_out"] = text("trace_out", path)
    _engine.configure({**options, "pin": bool(pin)})
