"""Training of VIPA-VLA: Hand3D pretraining (stages 1 and 2) and post-training on demonstrations (stage 3)."""
