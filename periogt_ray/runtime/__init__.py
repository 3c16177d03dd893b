"""The machine and Ray on it: files, ports, signals, processes, temporary directories.

Nothing here knows of polymers. Start with ``local_ray``: it starts a Ray of our own on this machine and ends it.
"""
