"""Stage 1: the fusion learns from questions about space, all else rests (paper Sec. 3.2.3, 4.1)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vipa_training.engine.distributed import World
from vipa_training.hand3d.dataset import VisualItems
from vipa_training.stages.pretraining import Pretrained, pretrain
from vipa_training.stages.recipes import PretrainingConfig
from vipa_training.stages.start import Start


def align(
    start: Start,
    datasets: Sequence[Path],
    out: Path,
    config: PretrainingConfig,
    world: World,
    say: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Pretrained:
    """Train on Hand3D-visual of some data sets; see ``pretrain``."""
    items = VisualItems(datasets, "train")
    return pretrain("stage1", start, items, out, config, world, say, show_progress)
