"""Each trial's own recording: the recorder is led along with the trial."""

import threading
from pathlib import Path
from typing import Any

from vipa_msgs.srv import RecorderCommand

from vipa.errors import VipaError
from vipa.trials.trial import TrialEvent

ANSWER_S = 30.0  # on a slow disk, stop waits for what has not been written yet


class TrialRecording:
    """Asks the recorder, and waits for its answers; an executor must spin meanwhile.

    Args:
        node: an rclpy node.
        folder: of the recorder's episodes.
    """

    def __init__(self, node: Any, folder: Path) -> None:
        self._client = node.create_client(RecorderCommand, "/recorder/command")
        self._folder = folder

    def start(self, instruction: str) -> Path:
        """Begin an episode; its path.

        Raises:
            VipaError: there is no recorder, or it cannot begin one.
        """
        return self._folder / self._ask("start", text=instruction)

    def take(self, event: TrialEvent) -> None:
        """Mark what happened in the trial; its outcome ends the episode.

        Raises:
            VipaError: the recorder does not answer or refuses.
        """
        if event.kind == "sub_task_done":
            self._ask("mark", "sub_task", event.sub_task)
        elif event.kind != "started":
            if event.detail:
                self._ask("mark", "note", event.detail)
            self._ask("stop", "success" if event.kind == "succeeded" else "failure")

    def _ask(self, command: str, kind: str = "", text: str = "") -> str:
        """The episode that the recorder names."""
        if not self._client.service_is_ready() and not self._client.wait_for_service(ANSWER_S):
            raise VipaError("trial: no recorder answers. See its log, or run trials without --record")
        answered = threading.Event()
        future = self._client.call_async(RecorderCommand.Request(command=command, kind=kind, text=text))
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(ANSWER_S):
            raise VipaError(f"trial: the recorder did not answer to {command} within {ANSWER_S:.0f} s")
        response = future.result()
        if not response.success:
            raise VipaError(f"trial: {response.message}")
        return str(response.episode)
