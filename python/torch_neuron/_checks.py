"""What users give, as the type that it must have. TypeError and ValueError name it."""

import contextlib
import operator
from collections.abc import Mapping
from numbers import Real

import torch

from .errors import _make


def integer(name, value):
    if isinstance(value, bool):
        raise _make("wrong_type", f"{name} is {value}: give an int")
    try:
        value = operator.index(value)
    except TypeError:
        raise _make("wrong_type", f"{name} is a {type(value).__name__}: give an int") from None
    if not -(2**63) <= value < 2**63:
        raise _make("invalid_argument", f"{name} is {value}: give an int of 64 bits")
    return value


def natural(name, value, bits=63):
    value = integer(name, value)
    if not 0 <= value < 2**bits:
        raise _make("invalid_argument", f"{name} is {value}: give an int from 0 to {2**bits - 1}")
    return value


def number(name, value):
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _make("wrong_type", f"{name} is a {type(value).__name__}: give a number")
    try:
        return float(value)
    except OverflowError:
        raise _make("invalid_argument", f"{name} is too large: give a number below 1.8e308") from None


def not_negative(name, value):
    value = number(name, value)
    if not value >= 0:
        raise _make("invalid_argument", f"{name} is {value}: give a number that is at least 0")
    return value


def text(name, value):
    if not isinstance(value, str):
        raise _make("wrong_type", f"{name} is a {type(value).__name__}: give a str")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _make("invalid_argument", f"{name} is {value!a}, which is no text in UTF-8: give another one") from None
    return value


def several(name, values, what):
    """The elements of a list, or of whatever has some."""
    if not isinstance(values, (str, bytes, torch.Tensor)):
        with contextlib.suppress(TypeError):
            return list(values)
    raise _make("wrong_type", f"{name} is a {type(values).__name__}: give a list of {what}")


def by_name(name, values):
    """Arguments by their names, as a dict."""
    if not isinstance(values, Mapping):
        raise _make("wrong_type", f"{name} is a {type(values).__name__}: give a dict of arguments by name")
    for key in values:
        if not isinstance(key, str):
            raise _make("wrong_type", f"{name} has a key of type {type(key).__name__}: give names of arguments, as str")
    return dict(values)


def numbers(name, values):
    if values is None:
        return []
    if isinstance(values, (list, tuple)):
        return [number(f"{name}[{i}]", value) for i, value in enumerate(values)]
    return [number(name, values)]
