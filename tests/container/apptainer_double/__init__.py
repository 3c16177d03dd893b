"""A test double of Apptainer: exec, run, shell, test, build, inspect and version, over Linux namespaces.

It runs real SIF files, as root and as an ordinary user, in the process that called it, as ``exec`` would: the root file
system is the image, read-only, and of the node only Apptainer's default mounts and what ``--bind`` names is there. It
is not Apptainer. Known differences: ``build`` needs root, takes ``docker`` bases from files in APPTAINER_SHIM_BASES,
and keeps in APPTAINER_SHIM_LAYER what the first part of ``%post`` makes; ``--containall`` keeps the process table;
``--userns``, ``--home`` and ``--app`` are ignored; the libraries that ``--nv`` brings are found by name; there are no
instances, overlays, signatures or downloads.
"""

VERSION = "1.3.6-shim"
