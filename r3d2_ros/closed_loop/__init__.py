"""Closed-loop runs: a stack drives the simulated vehicle, the run is logged, and everything is scored from the log.

Nothing here knows ROS or the wall clock: `loop.py` says what has to happen next, and whoever drives it (the node, or
`in_process.py`) does it and answers with the time that it took.
"""
