"""VIPA-VLA inference: what turns an observation of the cell into a chunk of actions."""
