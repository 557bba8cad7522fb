"""Robot PC and workstation as two hosts with a bad network between them: the task is done, also after a cut.

The workstation comes later than the robot PC, is lost while the arm moves, and comes back.
"""

import random
import sys
import time
from pathlib import Path

import pytest

from vipa.benchmarks.hosts import LinkConfig, two_hosts, why_not
from vipa.benchmarks.two_hosts import Cell, TwoHostsConfig, ended, lose_workstation

pytestmark = [pytest.mark.end_to_end, pytest.mark.skipif(bool(why_not()), reason=why_not() or "permitted")]

TASK = "water_plant"
WAIT_UNTIL_DONE = """
import sys, time
from vipa.laboratory_client import LaboratoryClient
laboratory = LaboratoryClient((sys.argv[1], 13370))
deadline = time.monotonic() + 60
while not all(laboratory.request("judge")["done"]):
    assert time.monotonic() < deadline, laboratory.request("judge")
    time.sleep(0.1)
"""


def wait_for_log(cell: Cell, text: str) -> None:
    deadline = time.monotonic() + 60.0
    while text not in cell.supervisor_log():
        assert time.monotonic() < deadline, cell.supervisor_log()
        time.sleep(0.1)


def test_an_expert_on_the_workstation_does_its_task_and_a_cut_stops_the_arm_until_reset(tmp_path: Path) -> None:
    config = TwoHostsConfig(LinkConfig(delay=0.02, loss=0.01), task=TASK, domain=random.randint(1, 100))
    with two_hosts(config.link) as (robot, workstation, link):
        cell = Cell(robot, workstation, config, tmp_path)
        with ended(cell.graph("bringup", "--instruction", TASK)), cell.watched() as motion:
            wait_for_log(cell, "ws://10.77.0.2:8000: cannot be reached")
            with cell.serving():
                figures = lose_workstation(cell, link, motion, seconds=2.5)
                robot.run([sys.executable, "-c", WAIT_UNTIL_DONE, robot.address], time_out=70.0)
    log = cell.supervisor_log()
    assert "Once that is mended: vipa cell reset" in log
    assert figures["lost_noticed_s"] < 10.0  # at all; how soon, the benchmark measures
    assert figures["lost_at_rest_s"] < 10.0
    assert figures["lost_moved_by_itself_mrad"] < 5.0
    assert figures["lost_reset_ok"] == 1.0
    assert figures["lost_aborts"] == 0.0
