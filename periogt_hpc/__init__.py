"""The name that the command line had in an older layout: ``python -m periogt_hpc`` is ``python -m periogt_ray``."""
