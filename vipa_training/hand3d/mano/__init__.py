"""MANO, the parametric hand (Romero et al. 2017): reading its licensed files, posing it, fitting it to joints."""
