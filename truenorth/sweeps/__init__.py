"""Sweeps of a merge's setting: the merges are measured as they are made, and reward is drawn against ability."""
