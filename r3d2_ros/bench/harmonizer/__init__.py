"""Measurements of the harmonizer: the network alone, a rig's whole tick, and what approximate modes cost in quality."""
