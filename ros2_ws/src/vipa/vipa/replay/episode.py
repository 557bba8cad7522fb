"""Opens a recorded episode for replay, and reads which messages each chunk of its policy was inferred from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vipa.errors import VipaError
from vipa.reading import from_chunk_message, to_ns
from vipa.recording.bag import mcap_name
from vipa.recording.recorded import RecordedEpisode, message_decoder, open_episode, read_recorded
from vipa.recording.store import list_episodes
from vipa_inference.policy import ActionChunk

CHUNKS, PLANS, ARM, HAND = "/policy/action_chunk", "/controller/plan", "/fr3/state", "/hand/state"


@dataclass
class ChunkInputs:
    """What an episode's chunks were inferred from, beside the pictures.

    Attributes:
        chunks: in the order in which they were recorded.
        arm, hand, plans: messages by their stamps, ns; of several with the same stamp the first, which the policy took.
        infos: messages of each camera, by their stamps.
    """

    chunks: list[ActionChunk] = field(default_factory=list[ActionChunk])
    arm: dict[int, Any] = field(default_factory=dict[int, Any])
    hand: dict[int, Any] = field(default_factory=dict[int, Any])
    plans: dict[int, Any] = field(default_factory=dict[int, Any])
    infos: dict[str, dict[int, Any]] = field(default_factory=dict[str, dict[int, Any]])

    def info(self, camera: str, exposure_ns: int) -> Any | None:
        """The camera info of an exposure: its own, else the last one before it; None where there is none."""
        infos = self.infos.get(camera, {})
        earlier = [stamp for stamp in infos if stamp <= exposure_ns]
        return infos[max(earlier)] if earlier else None


def open_recorded(folder: Path) -> RecordedEpisode:
    """Read an episode that has ended.

    Raises:
        VipaError: there is none, it was cut off, is damaged or empty; the message says what to do.
    """
    folder = folder.expanduser().resolve()
    if not (folder / mcap_name(folder.name)).is_file():
        raise VipaError(f"replay: {folder}: no such episode. See those that there are with: vipa record list FOLDER")
    listed = next((entry for entry in list_episodes(folder.parent) if entry.folder.name == folder.name), None)
    if listed is not None and listed.episode is None:
        raise VipaError(f"replay: {folder.name}: {listed.problem}")
    recorded = read_recorded(folder)
    if not recorded.bag.messages:
        raise VipaError(f"replay: {folder.name}: is empty")
    return recorded


def read_inputs(recorded: RecordedEpisode) -> ChunkInputs:
    """Read the chunks and what they were inferred from.

    Raises:
        VipaError: the file is damaged, or a chunk in it is none.
    """
    infos = {f"/camera/{name}/color/camera_info": name for name in recorded.cameras}
    found = ChunkInputs(infos={name: {} for name in recorded.cameras})
    states: Mapping[str, dict[int, Any]] = {ARM: found.arm, HAND: found.hand, PLANS: found.plans}
    with open_episode(recorded.folder) as reader:
        for schema, channel, raw in reader.iter_messages(topics=[CHUNKS, *states, *infos]):
            message = message_decoder(channel.message_encoding, schema)(raw.data)
            if channel.topic == CHUNKS:
                found.chunks.append(from_chunk_message(message))
            elif channel.topic in infos:
                found.infos[infos[channel.topic]].setdefault(to_ns(message.header.stamp), message)
            else:
                states[channel.topic].setdefault(to_ns(message.header.stamp), message)
    return found


def is_lossy(recorded: RecordedEpisode) -> bool:
    """Whether colour was recorded as JPEG."""
    return any(camera.topic.endswith("/compressed") for camera in recorded.cameras.values())


def is_known(chunk: ActionChunk) -> bool:
    """Whether a chunk tells what it was inferred from; those of an operator, or of a dataset, do not."""
    return chunk.sources.since_reset > 0
