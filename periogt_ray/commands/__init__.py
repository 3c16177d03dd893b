"""The longer commands of the command line, a module each: options, one call of the package, output.

``cli.py`` holds the group, the short commands, and the list of the ones here. ``output.py`` decides
what goes to a terminal and what to a pipe. A heavy module is imported inside its command, so that
``--help`` is instant.
"""
