"""The parts of `schedules.py`: what is done to nodes in network namespaces, and what has to be true afterwards."""
