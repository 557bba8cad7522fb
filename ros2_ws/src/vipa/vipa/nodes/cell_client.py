"""Asks the running cell once, prints its answer as JSON, and ends: what ``vipa cell`` runs."""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from vipa.console.cell_view import CellView
from vipa.console.requests import Reply
from vipa.nodes.cell_services import CellServices
from vipa.nodes.cell_watch import CellWatch
from vipa.nodes.client import run_client

WAIT_S = 10.0  # for the cell to be discovered
SETTLE_S = 1.0  # for everything else to be heard of
POLL_S = 0.05
NO_CELL = "no cell answers: start the graph with vipa bringup, or name its ROS domain"


class CellClient:
    """One node that watches the cell and asks it."""

    def __init__(self) -> None:
        self._node: Any = rclpy.create_node("cell_client")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        threading.Thread(target=self._spin, name="executor", daemon=True).start()
        self.view = CellView()
        self._watch = CellWatch(self._node, self.view)
        self._services = CellServices(self._node)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    async def _until(self, is_met: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._watch.collect()
            if is_met():
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_S)

    async def stop(self) -> Reply:
        """Stop the cell, as soon as the supervisor is found."""
        await self._until(self._services.finds_supervisor, WAIT_S)
        return await self._services.stop()

    async def reset(self) -> Reply:
        """Recover what needs it, then allow motion."""
        if not await self._until(lambda: bool(self.view.latest("cell")) and self._services.finds_supervisor(), WAIT_S):
            return Reply(False, NO_CELL)
        await self._until(lambda: bool(self.view.latest("arm") and self.view.latest("hand")), SETTLE_S)
        return await self._services.reset(*self.view.errors)

    async def instruct(self, text: str) -> Reply:
        """Tell the policy what to do."""
        if not await self._until(lambda: bool(self.view.latest("cell")), WAIT_S):
            return Reply(False, NO_CELL)
        await asyncio.sleep(SETTLE_S)
        await self._until(lambda: self._watch.knows_trial, WAIT_S)
        return await self._services.instruct(text, self.view)

    async def answer(self, kind: str, text: str) -> Reply:
        """Answer what the referee asks."""
        await self._until(lambda: self.view.trial.asks, WAIT_S)
        question = self.view.trial
        if not question.asks:
            return Reply(False, "no trial asks anything")
        reply = self._services.answer(question.trial, question.sub_task, kind, text)
        is_taken = await self._until(lambda: self.view.trial != question, SETTLE_S)
        return reply if is_taken else Reply(False, f"the trial still asks: {question.text}")

    async def status(self) -> Reply:
        """Say in one line how the cell is."""
        if not await self._until(lambda: bool(self.view.latest("cell")), WAIT_S):
            return Reply(False, NO_CELL)
        await self._until(lambda: False, SETTLE_S)
        await self._until(lambda: self._watch.knows_trial, WAIT_S)
        cell = self.view.latest("cell")
        return Reply(True, ": ".join(word for word in (f"cell {cell['state']}", cell["reason"]) if word))


def answer(options: argparse.Namespace) -> dict[str, object]:
    """The answer to a command of the command line."""
    client = CellClient()
    given = {"instruct": (options.text,), "answer": (options.kind, options.text)}.get(options.command, ())
    reply: Reply = asyncio.run(getattr(client, options.command)(*given))
    found: dict[str, object] = {"success": reply.success, "message": reply.message}
    if options.command == "status":
        found["state"] = client.view.snapshot(time.monotonic())
    return found


def main() -> int:
    """Run the client."""
    return run_client(("stop", "reset", "instruct", "answer", "status"), answer)


if __name__ == "__main__":
    sys.exit(main())
