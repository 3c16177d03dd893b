"""``periogt doctor``: what is wrong with this machine, and what to do about it.

``probes`` looks at the machine; ``node``, ``installation`` and ``run`` decide; ``report`` prints. Start with ``run``.
"""
