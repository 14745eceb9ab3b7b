"""A model that tells Python of each of its executions, on the thread of the core: which waits for the GIL there."""

import contextlib
import time

import torch

_library = torch.library.Library("ganglion_test", "DEF")
_library.define("spy(Tensor x) -> Tensor")
_told = None


def _spy(x):
    if _told is not None:
        _told(x)
    return x.clone()


_library.impl("spy", _spy, "CPU")


class Spied(torch.nn.Module):
    """Returns its input."""

    def forward(self, x):
        return torch.ops.ganglion_test.spy(x)


@contextlib.contextmanager
def told_to(function):
    """Meanwhile the function is called with the input of each execution."""
    global _told
    _told = function
    try:
        yield
    finally:
        _told = None
        time.sleep(0.1)  # the engine lets go of tensors that Python saw, for which there must be a Python
