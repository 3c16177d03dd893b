"""Polymer property prediction with PerioGT on Slurm clusters."""

__version__ = "0.1.0"
