"""A training that is killed at any moment goes on as if nothing had happened, to the last bit."""

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from fabricated_datasets import write_dataset
from safetensors.torch import load_file

from tests.vipa_training.engine.training_process import REPOSITORY, train, train_alone
from vipa_training.engine.errors import TrainingError
from vipa_training.engine.metrics import FILE, read_metrics

OPTIONS = ("optimisation.steps=30", "engine.save_every=4", "engine.ema=0.9", "augmentation.share=0.5", "draws=2")
MEASURED = {"samples_per_s", "data_wait_share"}  # of the wall clock
pytestmark = pytest.mark.long


@pytest.fixture
def start_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], BaseProcess]:
    """Starts trainings as processes, each forked from one that has imported everything."""
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'tests'}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.vipa_training.engine.training_process"])

    def start(dataset: Path, out: Path) -> BaseProcess:
        process = context.Process(target=train_alone, args=(dataset, out, *OPTIONS))
        process.start()
        return process

    return start


def kill_when(process: BaseProcess, condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 400.0
    while not condition():
        assert process.is_alive(), "ended before it was killed"
        assert time.monotonic() < limit
        time.sleep(0.0005)
    process.kill()
    process.join()


def figures(out: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in record.items() if key not in MEASURED} for record in read_metrics(out)]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in ``training_process``: sums of another number of threads round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.timeout(900)  # seconds on an idle machine
@pytest.mark.usefixtures("one_thread")
def test_killed_while_it_writes_and_between_it_gives_the_same_bits(
    tmp_path: Path, start_process: Callable[[Path, Path], BaseProcess]
) -> None:
    dataset, whole, cut = write_dataset(tmp_path / "dataset"), tmp_path / "whole", tmp_path / "cut"
    state = cut / "state"
    second_state = state / "step-00000008.partial"
    kill_when(start_process(dataset, cut), second_state.exists)
    assert second_state.exists() or (state / "step-00000008").exists()
    kill_when(start_process(dataset, cut), lambda: len(read_metrics(cut)) > 18)
    assert len(read_metrics(cut)) < 30
    with (cut / FILE).open("a") as file:
        file.write('{"step": 20, "lo')  # a line that was cut off
    last = start_process(dataset, cut)
    last.join()
    assert last.exitcode == 0
    train(dataset, whole, *OPTIONS, "engine.workers=1")
    assert figures(cut) == figures(whole)
    assert [record["step"] for record in figures(whole)] == list(range(1, 31))
    found, expected = (load_file(out / "model.safetensors") for out in (cut, whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert sorted(path.name for path in state.iterdir()) == ["step-00000028", "step-00000030"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and a training of four steps."""
    folder = tmp_path_factory.mktemp("state")
    train(write_dataset(folder / "dataset"), folder / "out", "optimisation.steps=4", "engine.save_every=2")
    return folder


class TestState:
    """What is there when a training goes on."""

    @pytest.fixture
    def out(self, done: Path, tmp_path: Path) -> Path:
        shutil.copytree(done, tmp_path, dirs_exist_ok=True)
        return tmp_path / "out"

    def again(self, out: Path, *pairs: str) -> None:
        train(out.with_name("dataset"), out, "optimisation.steps=4", "engine.save_every=2", *pairs)

    def test_a_checkpoint_that_was_not_written_is(self, out: Path) -> None:
        (out / "model.safetensors").unlink()
        self.again(out)
        assert (out / "model.safetensors").exists()

    def test_a_damaged_state_is_named_with_its_cure(self, out: Path) -> None:
        last = out / "state" / "step-00000004"
        for path in last.glob("*.distcp"):
            path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(TrainingError, match=r"step-00000004: cannot be read: .*goes on from step 2") as caught:
            self.again(out)
        assert "\n" not in str(caught.value)

    def test_other_options_are_refused_by_name(self, out: Path) -> None:
        with pytest.raises(TrainingError, match=r"optimisation.weight_decay was 1e-05, now it is 0.1"):
            self.again(out, "optimisation.weight_decay=0.1")

    def test_what_changes_nothing_may_differ(self, out: Path) -> None:
        self.again(out, "engine.log_every=3", "engine.save_every=3", "pictures_gb=0.5")
