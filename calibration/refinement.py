"""Robust refinement of a hand-eye calibration: nonlinear least squares over all views, each weighted by what it knows.

What a view leaves over is a twist in the camera's frame, between the board as seen and as the poses of camera and board
predict it. Its covariance has two parts: that of the corners, which is large along the line of sight and for a board
that is small in the image, and that of the arm. Views that contradict the others lose weight (Huber's estimator, on
their Mahalanobis distances).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.poses import adjoint, displaced, inverse, twist_of
from vipa.errors import VipaError

Array = NDArray[np.float64]
Mount = Literal["fixed", "wrist"]
HUBER = 4.0  # distance beyond which a view loses weight; 99 % of good ones are nearer (chi with 6 degrees of freedom)
MEDIAN_DISTANCE = 2.313  # of good views (the same)
DISTRUSTED_WEIGHT = 0.5
ITERATIONS = 200
CONVERGED = 1e-10  # rad and m
STUCK = 1e-6  # the same: a last step larger than this is no solution
HOPELESS = 50.0  # residuals so many times larger than the noise explains: some 10 mm
_COMPARABLE = np.array([1.0, 1.0, 1.0, 0.1, 0.1, 0.1] * 2)  # a radian to 0.1 m, for the condition number


@dataclass(frozen=True)
class Noise:
    """Standard deviations of what is measured."""

    arm_translation: float = 1e-4  # m, of the flange
    arm_rotation: float = 2e-4  # rad, of the flange
    least_corner: float = 0.05  # px; a view whose corners fit better than this has had luck

    def __post_init__(self) -> None:
        for name in ("arm_translation", "arm_rotation", "least_corner"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Problem:
    """Views that obey ``motion @ camera @ board = reference``; see ``calibration.hand_eye``.

    Attributes:
        mount: of the camera.
        motions: (N, 4, 4), m.
        boards: (N, 4, 4) poses of the board in the camera's frame, m.
        board_covariances: (N, 6, 6) of these as twists in the camera's frame.
        noise: of the arm.
    """

    mount: Mount
    motions: Array
    boards: Array
    board_covariances: Array
    noise: Noise

    def without(self, index: int) -> "Problem":
        """The same without one view."""
        rest = (np.delete(a, index, axis=0) for a in (self.motions, self.boards, self.board_covariances))
        motions, boards, covariances = rest
        return replace(self, motions=motions, boards=boards, board_covariances=covariances)

    def predict(self, camera: Array, reference: Array) -> Array:
        """Where the board should stand in the camera's frame (N, 4, 4)."""
        return inverse(self.motions @ camera) @ reference

    def covariances(self, camera: Array) -> Array:
        """(N, 6, 6) of what the views leave over."""
        flange_to_camera = inverse(camera if self.mount == "wrist" else self.motions @ camera)
        turn = adjoint(flange_to_camera)
        arm = np.diag([self.noise.arm_rotation**2] * 3 + [self.noise.arm_translation**2] * 3)
        return self.board_covariances + turn @ arm @ np.swapaxes(turn, -1, -2)

    def linearised(self, camera: Array, reference: Array) -> tuple[Array, Array, Array]:
        """What the views leave over (N, 6), its derivative (N, 6, 12) by twists of camera and reference, and the
        whitening matrices (N, 6, 6); residual and derivative are whitened."""
        predicted = self.predict(camera, reference)
        residuals = twist_of(self.boards @ inverse(predicted))
        whitening = np.asarray(np.linalg.inv(np.linalg.cholesky(self.covariances(camera))), dtype=np.float64)
        by_camera = np.broadcast_to(np.eye(6), whitening.shape)
        jacobian = whitening @ np.concatenate([by_camera, -adjoint(predicted)], axis=-1)
        return (whitening @ residuals[..., None])[..., 0], jacobian, whitening

    def distances(self, camera: Array, reference: Array) -> Array:
        """How many standard deviations each view (N,) is off."""
        return np.linalg.norm(self.linearised(camera, reference)[0], axis=-1)


@dataclass(frozen=True, eq=False)
class Solution:
    """The refined poses.

    Attributes:
        camera: (4, 4) pose of the camera, m.
        reference: (4, 4) pose of the board, m.
        covariance: (12, 12) of both as twists in their own frames.
        condition: of the equations, a radian compared to 0.1 m; large where a direction is hardly determined.
        noise_ratio: how much larger the residuals are than the noise explains; 1 where they are not larger.
        weights: (N,) of the views; 1, or less where a view contradicts the others.
        residual_mm: (N,) how far the board is, at its origin, from where the solution puts it.
        residual_deg: (N,) the same for its rotation.
        board_scale: how much larger the board is than described, as the arm's motion measures it.
        board_scale_error: standard deviation of it.
    """

    camera: Array
    reference: Array
    covariance: Array
    condition: float
    noise_ratio: float
    weights: Array
    residual_mm: Array
    residual_deg: Array
    board_scale: float
    board_scale_error: float

    def camera_error(self) -> tuple[float, float]:
        """Standard deviation of the camera's place and rotation, over all directions: mm and degrees."""
        variances = np.diag(self.covariance)
        return 1e3 * float(np.sqrt(variances[3:6].sum())), float(np.degrees(np.sqrt(variances[:3].sum())))

    def distrusted(self) -> tuple[int, ...]:
        """The views that contradict the others."""
        return tuple(int(i) for i in np.flatnonzero(self.weights < DISTRUSTED_WEIGHT))


def refine(problem: Problem, camera: Array, reference: Array) -> Solution:
    """Refine the poses (4, 4) of camera and board by Gauss-Newton with reweighting.

    Raises:
        VipaError: the iteration does not settle: the views contradict each other.
    """
    size = ratio = np.inf
    for _ in range(ITERATIONS):
        residuals, jacobian, _ = problem.linearised(camera, reference)
        weights, ratio = _weigh(residuals)
        step = _least_squares(jacobian, residuals, weights)
        camera, reference = displaced(camera, step[:6]), displaced(reference, step[6:])
        size = float(np.abs(step).max())
        if size < CONVERGED:
            break
    if not (size < STUCK and ratio < HOPELESS):
        raise VipaError(
            "hand-eye: the views contradict each other and no pose fits them; check that image and pose belong "
            "together, the order x, y, z, w of quaternions, the mount, and that the board was tight"
        )
    return _summary(problem, camera, reference)


def normal_matrix(jacobian: Array, weights: Array) -> Array:
    """(K, K) of whitened derivatives (N, 6, K) with weights (N,)."""
    return np.einsum("nik,nil,n->kl", jacobian, jacobian, weights)


def _weigh(residuals: Array) -> tuple[Array, float]:
    """Huber's weights (N,) of whitened residuals (N, 6), and how much larger they are than they should be."""
    distances = np.linalg.norm(residuals, axis=-1)
    ratio = max(1.0, float(np.median(distances)) / MEDIAN_DISTANCE)
    return np.minimum(1.0, HUBER * ratio / np.maximum(distances, 1e-12)), ratio


def _least_squares(jacobian: Array, residuals: Array, weights: Array) -> Array:
    root = np.sqrt(weights)[:, None]
    rows = (root[..., None] * jacobian).reshape(-1, jacobian.shape[-1])
    return -np.asarray(np.linalg.lstsq(rows, (root * residuals).ravel(), rcond=None)[0], dtype=np.float64)


def covariance_of(normal: Array) -> Array:
    """The inverse (K, K) of a normal matrix; directions that nothing determines count as known."""
    return np.asarray(np.linalg.pinv(normal, hermitian=True), dtype=np.float64)


def _summary(problem: Problem, camera: Array, reference: Array) -> Solution:
    residuals, jacobian, whitening = problem.linearised(camera, reference)
    weights, ratio = _weigh(residuals)
    normal = normal_matrix(jacobian, weights)
    closures = twist_of(inverse(reference) @ problem.motions @ camera @ problem.boards)
    by_scale = np.zeros((len(residuals), 6, 1))
    by_scale[:, 3:, 0] = problem.boards[:, :3, 3]
    extended = np.concatenate([jacobian, whitening @ by_scale], axis=-1)
    scale_variance = covariance_of(normal_matrix(extended, weights))[12, 12]
    return Solution(
        camera,
        reference,
        ratio**2 * covariance_of(normal),
        float(np.linalg.cond(normal * np.outer(_COMPARABLE, _COMPARABLE))),
        ratio,
        weights,
        1e3 * np.linalg.norm(closures[:, 3:], axis=-1),
        np.degrees(np.linalg.norm(closures[:, :3], axis=-1)),
        1.0 + float(_least_squares(extended, residuals, weights)[12]),
        ratio * float(np.sqrt(max(float(scale_variance), 0.0))),
    )
