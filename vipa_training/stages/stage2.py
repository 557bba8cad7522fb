"""Stage 2: fusion and language model learn motions of hands, as tokens that are added to the vocabulary.

What the two encoders see rests (paper Sec. 3.2.3, 4.1).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from vipa_training.engine.distributed import World
from vipa_training.hand3d.dataset import ActionItems
from vipa_training.stages.pretraining import Pretrained, pretrain
from vipa_training.stages.recipes import PretrainingConfig
from vipa_training.stages.start import Start


def learn_motions(
    start: Start,
    datasets: Sequence[Path],
    out: Path,
    config: PretrainingConfig,
    world: World,
    say: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Pretrained:
    """Train on Hand3D-action of some data sets; see ``pretrain``."""
    items = ActionItems(datasets, "train")
    return pretrain("stage2", start, items, out, config, world, say, show_progress)
