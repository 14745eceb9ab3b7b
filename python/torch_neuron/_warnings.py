"""Warnings of the engine, as Python's."""

import logging
import pathlib
import sys
import warnings

_log = logging.getLogger("torch_neuron")
_HERE = str(pathlib.Path(__file__).parent)
_TORCH = "torch.nn.modules.module"


class NeuronWarning(UserWarning):
    """What the user of torch_neuron should know; each is said once."""


def say(is_warning, sentence):
    """Passes on one sentence; a warning names the line of the user's code that called us."""
    if not is_warning:
        _log.info(sentence)
        return
    level, frame = 1, sys._getframe()
    while frame.f_back and (frame.f_code.co_filename.startswith(_HERE) or frame.f_globals.get("__name__") == _TORCH):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, NeuronWarning, stacklevel=level)
