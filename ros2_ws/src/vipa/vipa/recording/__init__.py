"""Recording that loses nothing: episodes as rosbag2 folders with one MCAP file each.

An episode is a folder ``episode_000001`` with ``episode_000001_0.mcap`` and, once it has ended, ``metadata.yaml``. The
file grows by whole chunks with checksums, each forced to the disk, so that a process killed at any moment loses at most
what it had not yet written; ``vipa.recording.recovery`` completes such a file. Nothing here imports ROS: messages are
written as they came over the wire (CDR), but for colour images, which become JPEG.
"""
