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


def here():
    """The line of the user's code that called us: its file, its number, and the globals of its module."""
    frame = sys._getframe()
    while frame.f_back and (frame.f_code.co_filename.startswith(_HERE) or frame.f_globals.get("__name__") == _TORCH):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals


def say(is_warning, sentence, place=None):
    """Passes on one sentence; a warning names a line of the user's code, the one that called us where no other is."""
    if not is_warning:
        _log.info(sentence)
        return
    file, line, names = place or here()
    registry = names.setdefault("__warningregistry__", {})
    warnings.warn_explicit(sentence, NeuronWarning, file, line, names.get("__name__"), registry)
