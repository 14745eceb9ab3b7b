"""What users give, as the type that it must have. TypeError and ValueError name it."""

import operator
from numbers import Real

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
    return float(value)


def text(name, value):
    if not isinstance(value, str):
        raise _make("wrong_type", f"{name} is a {type(value).__name__}: give a str")
    return value


def numbers(name, values):
    if values is None:
        return []
    if isinstance(values, (list, tuple)):
        return [number(f"{name}[{i}]", value) for i, value in enumerate(values)]
    return [number(name, values)]
