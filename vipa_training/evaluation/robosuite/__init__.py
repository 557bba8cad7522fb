"""What LIBERO and RoboCasa share: both are robosuite, a Panda at 20 Hz. Evaluation needs no torch."""
