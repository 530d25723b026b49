"""The solvers: one paper, one file."""
