"""Inputs for checks: the same on every machine and in every run, with no random generator."""

import copy
import math

from course_lib.grading.compare import is_tensor


class Edge(tuple):
    """Arguments with something special, and the key and the words for who fails only there."""

    key: str
    says: str


def edge(key: str, says: str, *arguments) -> Edge:
    """An input on which an answer may fail that is right everywhere else.

    If no named mistake fits and an answer fails at inputs with this key only, `says` is the
    verdict: what is special there, and why. It may be an edge of what is allowed, or one part of
    the task: inputs that show one part each tell which part it is.
    """
    made = Edge(arguments)
    made.key, made.says = key, " ".join(says.split())
    return made


def mixed(*arguments) -> Edge:
    """An input that shows several parts of the task at once, so it says nothing of any edge."""
    return edge("", "", *arguments)


def wave(*shape: int, phase: float = 0.0, scale: float = 1.0):
    """A float tensor of irregular numbers between -scale and scale, without symmetry."""
    import torch

    n = math.prod(shape)
    steps = torch.arange(n, dtype=torch.float64)
    values = torch.sin(steps * 2.3 + phase + 0.7) * (0.55 + 0.45 * torch.cos(steps * 0.9 + phase))
    return (scale * values).reshape(shape).float()


def whole(*shape: int, below: int, phase: int = 0):
    """An integer tensor of irregular numbers from 0 to below - 1."""
    import torch

    steps = torch.arange(math.prod(shape)) + 1
    return ((steps * steps * 7 + steps * 3 + phase) % 11 % below).reshape(shape)


def warm_up() -> None:
    """The first operation on `meta` imports hundreds of modules: not inside a time limit."""
    import torch

    torch.ones(1, device="meta") + 1


def to_meta(value):
    """The same arguments on torch's `meta` device, where tensors have shapes and no numbers."""
    if is_tensor(value):
        return value.to("meta")
    if isinstance(value, (list, tuple)):
        return type(value)(to_meta(v) for v in value)
    if isinstance(value, dict):
        return {key: to_meta(v) for key, v in value.items()}
    return value


def leaves(value) -> list:
    """Everything that stands in these lists, tuples and dicts, as one list."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def with_gradient(arguments: tuple) -> tuple:
    """The same arguments; their float tensors want gradients."""
    for leaf in leaves(arguments):
        if is_tensor(leaf) and leaf.is_floating_point():
            leaf.requires_grad_()
    return arguments


def has_tensor(value) -> bool:
    """Does a tensor stand anywhere in these arguments?"""
    return any(map(is_tensor, leaves(value)))


def fresh(value):
    """A deep copy; tensors without their history, functions as they are."""
    if is_tensor(value):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(map(fresh, value))
    try:
        return value if callable(value) else copy.deepcopy(value)
    except Exception:  # a module, a generator, ...: what a wrong answer may return
        return value
