"""Tableaus of explicit Runge-Kutta methods, plain and exponential, and the order that a plain one has.

A plain tableau is its rows: the weights a_ij of the earlier values at stages 2, 3, ..., and last the weights b_j. Where
a stage lies follows from them: c_i = sum_j a_ij.

The weights of an exponential one depend on where its stages lie and, by the functions phi_k(-c z) of
`coefficients.phi`, on the length of the step. Every row sums to c_i phi_1(-c_i z), as what is constant is integrated
exactly; so its first weight follows from the others, and only these are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

Rows = tuple[tuple[float, ...], ...]
Phi = Callable[[int, float], float]
"""phi(k, c) is phi_k(-c z)."""

PLAIN: dict[str, Rows] = {
    "euler": ((1.0,),),
    "midpoint": ((1 / 2,), (0.0, 1.0)),
    "heun2": ((1.0,), (1 / 2, 1 / 2)),
    "ralston2": ((2 / 3,), (1 / 4, 3 / 4)),
    "kutta3": ((1 / 2,), (-1.0, 2.0), (1 / 6, 2 / 3, 1 / 6)),
    "heun3": ((1 / 3,), (0.0, 2 / 3), (1 / 4, 0.0, 3 / 4)),
    "ralston3": ((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    "ssprk3": ((1.0,), (1 / 4, 1 / 4), (1 / 6, 1 / 6, 2 / 3)),
    "rk4": ((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    "three-eighths": ((1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0), (1 / 8, 3 / 8, 3 / 8, 1 / 8)),
}


class Exponential(NamedTuple):
    """An exponential tableau.

    Attributes:
        order: classical order, on problems that are not stiff.
        nodes: where its stages lie, c_1 = 0 first, unless whoever takes a step says otherwise.
        rows: of where the stages lie and phi, the rows of stages 2, 3, ... and of the end, without first weights.
    """

    order: int
    nodes: tuple[float, ...]
    rows: Callable[[Sequence[float], Phi], list[list[float]]]


def _half_slope(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """DPM-Solver-2 (arXiv 2206.00927, algorithm 4)."""
    return [[], [phi(1, 1.0) / (2.0 * c[1])]]


def _linear(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """The line through two values: ETD2RK (Cox and Matthews, 2002), RES of order 2 (arXiv 2308.02157)."""
    return [[], [phi(2, 1.0) / c[1]]]


def _third_value(c: Sequence[float], phi: Phi) -> list[float]:
    """The third stage of DPM-Solver-3, on the line through the first two values."""
    return [c[2] ** 2 / c[1] * phi(2, c[2])]


def _line_to_third(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """DPM-Solver-3 (arXiv 2206.00927, algorithm 5)."""
    return [[], _third_value(c, phi), [0.0, phi(2, 1.0) / c[2]]]


def _quadratic(c: Sequence[float], phi: Phi) -> list[float]:
    """The end by the quadratic through three values."""
    apart = c[2] - c[1]
    return [
        (c[2] * phi(2, 1.0) - 2.0 * phi(3, 1.0)) / (c[1] * apart),
        (2.0 * phi(3, 1.0) - c[1] * phi(2, 1.0)) / (c[2] * apart),
    ]


def _line_then_quadratic(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """DPM-Solver-3 as its authors' code has it under `solver_type` "taylor"."""
    return [[], _third_value(c, phi), _quadratic(c, phi)]


def _etd3rk(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """Cox and Matthews, Exponential time differencing for stiff systems (2002): ETD3RK."""
    return [[], [2.0 * phi(1, 1.0)], _quadratic(c, phi)]


def _refined(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """RES of order 3 (arXiv 2308.02157), after Hochbruck and Ostermann (2005); its stiff order is 3 too."""
    gamma = (3.0 * c[2] ** 2 - 2.0 * c[2]) / (c[1] * (2.0 - 3.0 * c[1]))
    last = phi(2, 1.0) / (gamma * c[1] + c[2])
    return [[], [gamma * c[1] * phi(2, c[1]) + c[2] ** 2 / c[1] * phi(2, c[2])], [gamma * last, last]]


def _simpson(phi: Phi) -> list[float]:
    """The end of the methods of order 4: values at 0, 1/2 twice, and 1."""
    middle = 2.0 * phi(2, 1.0) - 4.0 * phi(3, 1.0)
    return [middle, middle, 4.0 * phi(3, 1.0) - phi(2, 1.0)]


def _etd4rk(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """Cox and Matthews (2002): ETD4RK; stiff order 2."""
    return [[], [0.5 * phi(1, 0.5)], [0.0, phi(1, 0.5)], _simpson(phi)]


def _krogstad4(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """Krogstad, Generalized integrating factor methods for stiff PDEs (2005), ETDRK4-B; stiff order 3."""
    return [[], [phi(2, 0.5)], [0.0, 2.0 * phi(2, 1.0)], _simpson(phi)]


def _hochbruck_ostermann4(c: Sequence[float], phi: Phi) -> list[list[float]]:
    """Hochbruck and Ostermann, Explicit exponential Runge-Kutta methods (2005); stiff order 4."""
    a_52 = 0.5 * phi(2, 0.5) - phi(3, 1.0) + 0.25 * phi(2, 1.0) - 0.5 * phi(3, 0.5)
    a_54 = 0.25 * phi(2, 0.5) - a_52
    end = [0.0, 0.0, 4.0 * phi(3, 1.0) - phi(2, 1.0), 4.0 * phi(2, 1.0) - 8.0 * phi(3, 1.0)]
    return [[], [phi(2, 0.5)], [phi(2, 1.0), phi(2, 1.0)], [a_52, a_52, a_54], end]


HALF_SLOPE = Exponential(2, (0.0, 1 / 2), _half_slope)
LINEAR = Exponential(2, (0.0, 1 / 2), _linear)
LINE_TO_THIRD = Exponential(3, (0.0, 1 / 3, 2 / 3), _line_to_third)
LINE_THEN_QUADRATIC = Exponential(3, (0.0, 1 / 3, 2 / 3), _line_then_quadratic)

EXPONENTIAL: dict[str, Exponential] = {
    "exp-euler": Exponential(1, (0.0,), lambda c, phi: [[]]),
    "exp-midpoint": HALF_SLOPE,  # b_1 is 0 at c_2 = 1/2
    "res-2s": LINEAR,
    "etd2rk": LINEAR._replace(nodes=(0.0, 1.0)),
    "dpm-solver-3": LINE_TO_THIRD,
    "etd3rk": Exponential(3, (0.0, 1 / 2, 1.0), _etd3rk),
    "res-3s": Exponential(3, (0.0, 1 / 2, 1.0), _refined),
    "etd4rk": Exponential(4, (0.0, 1 / 2, 1 / 2, 1.0), _etd4rk),
    "krogstad4": Exponential(4, (0.0, 1 / 2, 1 / 2, 1.0), _krogstad4),
    "hochbruck-ostermann4": Exponential(4, (0.0, 1 / 2, 1 / 2, 1.0, 1 / 2), _hochbruck_ostermann4),
}


def nodes_of(rows: Rows) -> tuple[float, ...]:
    """Where the stages of a plain tableau lie, in parts of a step."""
    return (0.0, *(math.fsum(row) for row in rows[:-1]))


@cache
def order_of(rows: Rows) -> int:
    """The order of a plain tableau: up to 5, by the conditions of all rooted trees (Butcher); 0 if it has none.

    Each tree says sum_i b_i Phi_i = 1 / gamma, where Phi_i is the product over its branches of sum_j a_ij Phi_j.
    """
    a = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows[:-1]):
        a[i + 1, : len(row)] = row
    b = np.array(rows[-1])
    order = 0
    while order < 5 and all(abs(b @ phi - 1.0 / gamma) < 1e-6 for phi, gamma in _weights(a, order + 1)):
        order += 1
    return order


def _weights(a: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Phi and gamma of every rooted tree of so many nodes; a tree may come more than once."""
    for branches in _partitions(size - 1, size - 1):
        products = [(np.ones(len(a)), size)]
        for branch in branches:
            products = [
                (phi * (a @ inner), gamma * factor) for phi, gamma in products for inner, factor in _weights(a, branch)
            ]
        yield from products


def _partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as a sum, largest parts first."""
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        for rest in _partitions(total - part, part):
            yield (part, *rest)
