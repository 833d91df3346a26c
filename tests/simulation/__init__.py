"""The whole engine under a virtual clock, with every fault that can be drawn: see docs/simulation.md.

``python -m tests.simulation --seed N`` runs one seed and tells its story.
"""
