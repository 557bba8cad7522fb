"""One-time conversion of public checkpoints to this project's names, with every key of the source accounted for."""
