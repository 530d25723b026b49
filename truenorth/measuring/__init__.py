"""`truenorth judge` and `truenorth evaluate`: who wins, what held-out rows say, and what was forgotten."""
