"""Policy process of the simulated laboratory: the genuine policy node, with the expert of the task as its policy."""

import math
import sys
from collections.abc import Mapping
from typing import Any

from vipa.lab import split_address
from vipa.laboratory_client import LaboratoryClient
from vipa.nodes.base import run_node
from vipa.nodes.policy import PolicyNode
from vipa.scheduling import CHAIN_PRIORITY
from vipa_inference.policy import Policy, PolicyError
from vipa_inference.registry import configure
from vipa_sim.errors import SimulationError
from vipa_sim.experts import ExpertConfig
from vipa_sim.experts.policy import ExpertPolicy

TIME_OUT_S = 1.0  # for one answer of the laboratory


class ExpertPolicyNode(PolicyNode):
    """A policy node that runs the expert of the task in the parameter ``task``."""

    long_inference_s = math.inf  # it stands for a workstation, which does not share its processors with the robot PC

    def __init__(self) -> None:
        super().__init__()
        self.declare_parameter("task", "")

    def make_policy(self, name: str, options: Mapping[str, Any]) -> Policy:
        """The expert; ``options`` are fields of ``ExpertConfig``.

        Raises:
            PolicyError: the task has no expert, or an option is unknown or out of range.
        """
        config = configure(ExpertConfig, options, f"policy {name}")
        laboratory = LaboratoryClient(split_address(self.lab.referee, "referee"), TIME_OUT_S)
        try:
            return ExpertPolicy(str(self.get_parameter("task").value), laboratory, config)
        except SimulationError as error:
            raise PolicyError(str(error)) from None


def main() -> int:
    """Run the node."""
    return run_node(ExpertPolicyNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
