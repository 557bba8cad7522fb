"""What ``vipa bench faults`` injects, and how it is judged: one module per fault, ``suite`` runs them in order."""
