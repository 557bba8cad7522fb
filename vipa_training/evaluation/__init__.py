"""Evaluation in benchmarks and against peers, through the policy server."""
