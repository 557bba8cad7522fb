"""Limits of a joint path, exact between its knots, and a follower that obeys them whatever path it is given.

A path is a chain of cubic Hermite pieces. Every function takes any leading batch shape.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vipa.hardware.fr3.limits import velocity_limits

Array = NDArray[np.float64]

_POLE = 0.5  # of the follower in discrete time; both poles there: no overshoot
_SAMPLES = (0.0, 0.25, 0.5, 0.75, 1.0)
_BISECTIONS = 20
STILL = 1e-3  # rad/s that count as rest, where the allowed velocity is zero


@dataclass(frozen=True)
class JointBounds:
    """The limits of each joint; the deceleration ``brake`` must always suffice to stop before a position limit."""

    lower: Array  # (..., 7) rad
    upper: Array  # (..., 7) rad
    speed: Array  # (7,) rad/s
    velocity_fraction: float  # share of the robot's own position-dependent velocity limit
    acceleration: Array  # (7,) rad/s^2
    brake: float  # rad/s^2

    def velocity_range(self, q: Array) -> tuple[Array, Array]:
        """Lowest and highest velocity (..., 7) rad/s allowed at q (..., 7) rad."""
        low, high = velocity_limits(q)
        low = np.maximum(self.velocity_fraction * low, -np.sqrt(2.0 * self.brake * np.maximum(q - self.lower, 0.0)))
        high = np.minimum(self.velocity_fraction * high, np.sqrt(2.0 * self.brake * np.maximum(self.upper - q, 0.0)))
        return np.maximum(low, -self.speed), np.minimum(high, self.speed)


@dataclass(frozen=True)
class PathExcess:
    """By how much a path exceeds its limits at its worst: 1 is the limit itself, except for ``position`` in rad."""

    position: Array  # (...,) rad beyond a position limit; negative inside
    velocity: Array  # (...,)
    acceleration: Array  # (...,)

    def inside(self, tolerance: float = 1e-6) -> NDArray[np.bool_]:
        """Whether the path is within every limit (...,)."""
        return (
            (self.position <= tolerance) & (self.velocity <= 1.0 + tolerance) & (self.acceleration <= 1.0 + tolerance)
        )


def path_excess(times: Array, q: Array, dq: Array, bounds: JointBounds) -> PathExcess:
    """The worst excess of a path with K knots: times (..., K) s, q and dq (..., K, 7).

    The acceleration is linear within a piece, the velocity quadratic, the position cubic: their extremes are exact. The
    position-dependent velocity limit is evaluated at five points of each piece.
    """
    h = np.diff(times)[..., None]
    q0, q1, v0, v1 = q[..., :-1, :], q[..., 1:, :], dq[..., :-1, :], dq[..., 1:, :]
    rise = (q1 - q0) / h
    a0, a1 = (6.0 * rise - 4.0 * v0 - 2.0 * v1) / h, (6.0 * rise - 2.0 * v0 - 4.0 * v1) / -h
    acceleration = np.maximum(np.abs(a0), np.abs(a1)) / bounds.acceleration
    bend = a1 - a0
    wide = replace(bounds, lower=bounds.lower[..., None, :], upper=bounds.upper[..., None, :])

    def at(s: Array) -> tuple[Array, Array]:
        x = s / h
        return q0 + s * (v0 + s * (0.5 * a0 + x * bend / 6.0)), v0 + s * (a0 + 0.5 * x * bend)

    def quotient(numerator: Array, denominator: Array) -> Array:
        usable = np.abs(denominator) > 1e-12
        return np.clip(np.where(usable, numerator / np.where(usable, denominator, 1.0), 0.0), 0.0, h)

    extreme = at(quotient(-h * a0, bend))[1]
    velocity = np.maximum(np.maximum(np.abs(v0), np.abs(v1)), np.abs(extreme)) / bounds.speed
    position = np.full_like(velocity, -np.inf)
    root = np.sqrt(np.maximum(a0**2 - 2.0 * bend * v0 / h, 0.0))
    for s in (quotient(-2.0 * v0, a0 + root), quotient(-2.0 * v0, a0 - root)):
        end = at(s)[0]
        position = np.maximum(position, np.maximum(wide.lower - end, end - wide.upper))
    for x in _SAMPLES:
        place, speed = at(x * h)
        position = np.maximum(position, np.maximum(wide.lower - place, place - wide.upper))
        low, high = wide.velocity_range(place)
        velocity = np.maximum(velocity, np.maximum((speed - STILL) / (high + STILL), (speed + STILL) / (low - STILL)))
    return PathExcess(position.max((-2, -1)), velocity.max((-2, -1)), acceleration.max((-2, -1)))


def follow(times: Array, q: Array, dq: Array, bounds: JointBounds) -> tuple[Array, Array]:
    """Follow a path in time within the bounds, with a constant acceleration between two knots.

    A double integrator with a stable law (both discrete poles at 0.5). The acceleration is clipped, then bisected
    towards braking where the joint could no longer stop before its position limit.

    Args:
        times: (..., K) s.
        q: (..., K, 7) rad; the first knot is the state to begin from, inside the bounds.
        dq: (..., K, 7) rad/s.
        bounds: position limits broadcast against (..., 7).

    Returns:
        q and dq (..., K, 7) of the path that is followed.
    """
    position, velocity = q[..., 0, :], dq[..., 0, :]
    positions, velocities = [position], [velocity]
    for k in range(1, times.shape[-1]):
        h = (times[..., k] - times[..., k - 1])[..., None]
        low, high = velocity - bounds.acceleration * h, velocity + bounds.acceleration * h
        wanted = velocity + (
            (dq[..., k, :] - dq[..., k - 1, :])
            + (2.0 - 2.0 * _POLE - 0.5 * (1.0 - _POLE) ** 2) * (dq[..., k - 1, :] - velocity)
            + (1.0 - _POLE) ** 2 / h * (q[..., k - 1, :] - position)
        )
        wanted = np.minimum(np.maximum(wanted, low), high)
        safe = np.minimum(np.maximum(_braked(position, velocity, h, bounds), low), high)
        good, bad = np.where(_allowed(wanted, position, velocity, h, bounds), wanted, safe), wanted
        if not np.array_equal(good, wanted):
            for _ in range(_BISECTIONS):
                middle = 0.5 * (good + bad)
                allowed = _allowed(middle, position, velocity, h, bounds)
                good, bad = np.where(allowed, middle, good), np.where(allowed, bad, middle)
        position, velocity = position + 0.5 * h * (velocity + good), good
        positions.append(position)
        velocities.append(velocity)
    return np.stack(positions, -2), np.stack(velocities, -2)


def _braked(position: Array, velocity: Array, h: Array, bounds: JointBounds) -> Array:
    """The velocity after h that is nearest to rest; it turns round where rest would come after the position limit."""
    room = np.where(velocity > 0.0, bounds.upper - position, position - bounds.lower)
    turned = velocity * (1.0 - np.abs(velocity) * h / (2.0 * np.maximum(room, 1e-12)))
    return np.where(velocity * turned < 0.0, turned, 0.0)


def _allowed(new: Array, position: Array, velocity: Array, h: Array, bounds: JointBounds) -> NDArray[np.bool_]:
    end = position + 0.5 * h * (velocity + new)
    low, high = bounds.velocity_range(end)
    turns = velocity * new < 0.0
    peak = np.where(turns, position + 0.5 * h * velocity**2 / np.where(turns, velocity - new, 1.0), end)
    inside = (np.minimum(peak, end) >= bounds.lower - 1e-9) & (np.maximum(peak, end) <= bounds.upper + 1e-9)
    return (low <= new) & (new <= high) & inside
