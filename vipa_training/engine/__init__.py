"""The training loop, for every stage: one process, or many with FSDP2; it goes on exactly where it was cut off."""
