"""Motion tokens: wrist trajectories as discrete ids of the language model's vocabulary (paper Sec. 3.2.2)."""

import torch
from torch import Tensor

from vipa_inference.config import MotionTokenConfig

AXES = 3
VOCABULARY_MULTIPLE = 64  # rows of the embedding, for fast matrix multiplications


class MotionTokenizer:
    """Ids of wrist positions, and back to the centres of their bins.

    The ids follow on ``first_id``: bins of x, y, z (or one shared set), then ``<mot>`` and ``</mot>``, which enclose a
    trajectory.
    """

    def __init__(self, config: MotionTokenConfig, first_id: int) -> None:
        self.config = config
        self.first_id = first_id
        sets = 1 if config.shared_ids else AXES
        self.begin_id = first_id + sets * config.bins
        self.end_id = self.begin_id + 1
        self.count = sets * config.bins + 2
        self._lower = torch.tensor(config.lower, dtype=torch.float64)
        self._size = (torch.tensor(config.upper, dtype=torch.float64) - self._lower) / config.bins
        offsets = torch.zeros(AXES, dtype=torch.long) if config.shared_ids else torch.arange(AXES) * config.bins
        self._offsets = offsets + first_id

    def encode(self, trajectory: Tensor) -> Tensor:
        """Ids (..., T, 3) of positions (..., T, 3) m in the camera frame; positions outside the bounds are clipped.

        Raises:
            ValueError: a position is not finite.
        """
        positions = trajectory.to(torch.float64)
        if not bool(torch.isfinite(positions).all()):
            raise ValueError("motion tokens: a position is not finite")
        bins = torch.floor((positions - self._lower) / self._size).long().clamp(0, self.config.bins - 1)
        return bins + self._offsets

    def decode(self, ids: Tensor) -> Tensor:
        """Bin centres (..., T, 3) m of ids (..., T, 3).

        Raises:
            ValueError: an id is no motion token of its axis.
        """
        bins = ids - self._offsets
        if bool(((bins < 0) | (bins >= self.config.bins)).any()):
            raise ValueError("motion tokens: an id does not belong to its axis")
        return self._lower + (bins.to(torch.float64) + 0.5) * self._size

    def sequence(self, trajectory: Tensor) -> Tensor:
        """Ids (3 T + 2,) of one trajectory (T, 3): <mot> x y z x y z ... </mot>."""
        ids = self.encode(trajectory).flatten()
        return torch.cat([ids.new_tensor([self.begin_id]), ids, ids.new_tensor([self.end_id])])

    def parse(self, sequence: Tensor) -> Tensor:
        """Positions (T, 3) m of the first trajectory in a sequence of ids (N,).

        Raises:
            ValueError: there is no complete, well-formed trajectory.
        """
        begins = (sequence == self.begin_id).nonzero().flatten()
        ends = (sequence == self.end_id).nonzero().flatten()
        if not begins.numel() or not ends.numel() or int(ends[0]) <= int(begins[0]):
            raise ValueError("motion tokens: the sequence holds no <mot> ... </mot>")
        inner = sequence[int(begins[0]) + 1 : int(ends[0])]
        if inner.numel() % AXES:
            raise ValueError(f"motion tokens: {inner.numel()} ids are no whole number of x, y, z")
        return self.decode(inner.reshape(-1, AXES))

    def allowed(self, generated: Tensor, waypoints: int | None = None) -> Tensor:
        """The ids that may follow inside a trajectory, for grammar-constrained decoding.

        Args:
            generated: ids (N,) generated so far, from ``<mot>`` on.
            waypoints: number of waypoints after which only ``</mot>`` may follow, and before which it may not.

        Returns:
            Ids (M,), sorted.
        """
        if not generated.numel() or int(generated[0]) != self.begin_id:
            return torch.tensor([self.begin_id])
        done = int(generated.numel()) - 1
        if int(generated[-1]) == self.end_id:
            return torch.empty(0, dtype=torch.long)
        if waypoints is not None and done >= AXES * waypoints:
            return torch.tensor([self.end_id])
        ids = self._offsets[done % AXES] + torch.arange(self.config.bins)
        may_end = waypoints is None and done % AXES == 0 and done > 0
        return torch.cat([ids, torch.tensor([self.end_id])]) if may_end else ids


def padded_vocabulary(count: int) -> int:
    """Rows of an embedding that holds ``count`` tokens."""
    return -(-count // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def new_embeddings(known: Tensor, count: int) -> Tensor:
    """Embeddings (count, D) of new tokens: the mean of the known ones (V, D), a little apart from each other.

    A token that resembles the average one changes the probabilities of the others least (nlp.stanford.edu/~johnhew,
    "Initializing New Word Embeddings for Pretrained Language Models", 2021). The same call gives the same numbers.
    """
    mean, deviation = known.float().mean(dim=0), known.float().std(dim=0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, known.shape[1], generator=generator).to(known.device)
    return (mean + 0.1 * deviation * noise).to(known.dtype)
