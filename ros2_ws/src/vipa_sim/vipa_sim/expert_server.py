"""The expert of a task behind a policy server, as on the workstation of a two-host cell: the policy ``remote`` asks it.

``python -m vipa_sim.expert_server --lab lab.yaml --task water_plant`` listens where ``vipa serve --lab`` would.
A policy sees the world in the observation. The expert asks for its state; it does so all the time, so that no chunk has
to wait for another journey over the network.
"""

import argparse
import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vipa.errors import VipaError
from vipa.lab import load_lab, split_address
from vipa.laboratory_client import LaboratoryClient, LaboratoryError
from vipa.scheduling import CHAIN_PRIORITY, request_real_time
from vipa_inference.minimum_jerk import SpeedLimits
from vipa_inference.path_following import PathConfig
from vipa_inference.policy import PolicyError
from vipa_inference.serving.authentication import read_token
from vipa_inference.serving.process import serve_until_stopped
from vipa_inference.serving.server import ServerConfig
from vipa_sim.errors import SimulationError
from vipa_sim.experts import ExpertConfig
from vipa_sim.experts.policy import ExpertPolicy

TIME_OUT_S = 1.0  # for one answer of the laboratory
PERIOD_S = 0.02
FAR_AWAY = ExpertConfig(PathConfig(limits=SpeedLimits(linear=0.30, angular=0.65), horizon=24, lead=0.35, lag=0.4))
"""A chunk takes effect up to 0.3 s after its observation, and may be missing now and then."""


class WatchedLaboratory(LaboratoryClient):
    """A client whose thread asks for the situation all the time; ``request`` gives the newest.

    Args:
        address: host and port of the control port.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, TIME_OUT_S)
        self._asking = LaboratoryClient(address, TIME_OUT_S)  # only in the thread
        self._newest: tuple[float, dict[str, Any]] | None = None
        self._error = LaboratoryError(f"{self.name}: has not answered yet")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="laboratory", daemon=True)
        self._thread.start()

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The newest situation.

        Raises:
            LaboratoryError: it is older than ``TIME_OUT_S``, or something else is asked for.
        """
        if command != "situation":
            raise LaboratoryError(f"{self.name}: {command} is not watched, only the situation is")
        newest = self._newest
        if newest is None or time.monotonic() - newest[0] > TIME_OUT_S:
            raise self._error
        return newest[1]

    def close(self) -> None:
        """End the thread and close its connection."""
        self._ended.set()
        self._thread.join()
        self._asking.close()

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD_S):
            asked = time.monotonic()
            try:
                self._newest = asked, self._asking.request("situation")
            except LaboratoryError as error:
                self._error = error


def main() -> int:
    """Run until SIGINT or SIGTERM; the exit status is 1 where the server cannot start."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lab", required=True, help="its YAML names the workstation and the laboratory's control port")
    parser.add_argument("--task", required=True, help="that the laboratory was started with")
    options = parser.parse_args()
    request_real_time(CHAIN_PRIORITY)  # a workstation does not share its processors with the robot PC
    try:
        lab = load_lab(options.lab)
        if lab.workstation is None:
            raise SimulationError(f"laboratory {options.lab} has no workstation; add it to its YAML")
        host, port, file = lab.workstation.address, lab.workstation.port, lab.workstation.token_file
        laboratory = WatchedLaboratory(split_address(lab.referee, "referee"))
        expert = ExpertPolicy(options.task, laboratory, FAR_AWAY)
        token = read_token(Path(file) if file else None)
        asyncio.run(serve_until_stopped(lambda: expert, ServerConfig(host=host, port=port), token, sys.stdout))
    except (VipaError, SimulationError, PolicyError) as error:
        print(f"expert server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
