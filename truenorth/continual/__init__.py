"""Domains one after another: an adapter for each, their sum, and what is kept and forgotten on the way."""
