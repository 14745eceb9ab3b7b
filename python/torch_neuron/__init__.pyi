import concurrent.futures
import dataclasses
import enum
import os
from typing import Any, Callable, Coroutine, Dict, Iterable, List, Literal, Mapping, NoReturn, Optional, Sequence, Tuple
from typing import Union

import torch
from torch.jit._script import RecursiveScriptModule, ScriptModule

from .errors import NeuronCancelledError as NeuronCancelledError
from .errors import NeuronError as NeuronError
from .errors import NeuronOSError as NeuronOSError
from .errors import NeuronRuntimeError as NeuronRuntimeError
from .errors import NeuronTimeoutError as NeuronTimeoutError
from .errors import NeuronTypeError as NeuronTypeError
from .errors import NeuronValueError as NeuronValueError

__version__: str
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
_DeviceId = Union[int, str]

class NeuronWarning(UserWarning): ...

class Optimization(enum.Enum):
    FLOAT32_TO_FLOAT16 = "float32_to_float16"

class NeuronModule(RecursiveScriptModule):
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class RequestFuture(concurrent.futures.Future[Any]):
    def __init__(self) -> None: ...
    def cancel(self) -> bool: ...
    def result(self, timeout: Optional[float] = ...) -> Any: ...
    def exception(self, timeout: Optional[float] = ...) -> Optional[BaseException]: ...
    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[Any]], object]) -> None: ...

@dataclasses.dataclass(frozen=True)
class CoreStatus:
    index: int
    global_index: int
    chip: int
    core: int
    up: bool
    lost: bool
    restarts: int
    executions: int
    rows: int
    padding_rows: int
    busy_seconds: float
    up_seconds: float
    model_bytes: int
    models: int

@dataclasses.dataclass(frozen=True)
class ModelStatus:
    id: int
    content_hash: str
    cores: List[int]
    queued_rows: int
    queued_bytes: int
    unanswered: int
    executions_in_flight: int
    rows: int
    outcomes: Dict[str, int]
    queued_seconds: Dict[float, float]
    compute_seconds: Dict[float, float]
    total_seconds: Dict[float, float]

@dataclasses.dataclass(frozen=True)
class Status:
    cores: List[CoreStatus]
    models: List[ModelStatus]
    queued_rows: int
    queued_bytes: int
    unanswered: int
    executions_in_flight: int
    abandoned_lanes: int
    abandoned_bytes: int

def status() -> Status: ...
def configure(
    *,
    host_cores: Optional[int] = ...,
    threads_per_core: Optional[int] = ...,
    pin: bool = ...,
    cpus: Optional[Sequence[int]] = ...,
    idle_spin: Optional[float] = ...,
    core_memory_bytes: Optional[int] = ...,
    max_queued_rows: Optional[int] = ...,
    max_queued_bytes: Optional[int] = ...,
    max_queue_time: Optional[float] = ...,
    max_execution_time: Optional[float] = ...,
    max_load_step_time: Optional[float] = ...,
    trace_out: Union[str, "os.PathLike[str]", None] = ...,
) -> None: ...
def trace(
    func: Union[torch.nn.Module, Callable[..., Any]],
    example_inputs: Any,
    *,
    example_kwarg_inputs: Optional[Dict[str, Any]] = ...,
    more_examples: Optional[Iterable[Any]] = ...,
    auto_cast: Literal["none", "bf16"] = ...,
    tune: bool = ...,
    threads: int = ...,
    max_deviation: Optional[float] = ...,
    calibration: Optional[Iterable[Any]] = ...,
    check_inputs: Optional[Iterable[Any]] = ...,
    check_tolerance: Optional[float] = ...,
    **compiler_options: Any,
) -> NeuronModule: ...
def analyze_model(
    func: Union[torch.nn.Module, Callable[..., Any]], example_inputs: Any, **compiler_options: Any
) -> Dict[str, int]: ...

class DataParallel(torch.nn.Module):
    module: ScriptModule
    num_workers: int
    split_size: Optional[int]
    def __init__(
        self,
        model: ScriptModule,
        device_ids: Optional[Sequence[_DeviceId]] = ...,
        dim: int = ...,
        set_dynamic_batching: Optional[bool] = ...,
        *,
        num_workers: Optional[int] = ...,
        split_size: Optional[int] = ...,
        max_queue_delay: float = ...,
        ageing: Optional[float] = ...,
        deterministic: bool = ...,
        pad_values: Union[float, Sequence[float], None] = ...,
    ) -> None: ...
    def __call__(self, *inputs: Any, **kwargs: Any) -> Any: ...
    def forward(self, *inputs: Any, **kwargs: Any) -> Any: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> NoReturn: ...
    def submit(
        self,
        *inputs: Any,
        timeout: Optional[float] = ...,
        priority: Literal["high", "normal", "low"] = ...,
        tenant: str = ...,
        **kwargs: Any,
    ) -> RequestFuture: ...
    def async_forward(
        self,
        *inputs: Any,
        timeout: Optional[float] = ...,
        priority: Literal["high", "normal", "low"] = ...,
        tenant: str = ...,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]: ...
    def disable_dynamic_batching(self) -> None: ...
    @property
    def dim(self) -> int: ...
    @property
    def dynamic_batching(self) -> bool: ...
    @property
    def device_ids(self) -> List[int]: ...
    @property
    def warnings(self) -> List[str]: ...
    def status(self) -> Status: ...
    def replace(self, model: ScriptModule) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> "DataParallel": ...
    def __exit__(self, *exception: Any) -> None: ...
    def extra_repr(self) -> str: ...
