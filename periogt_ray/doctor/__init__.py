"""``periogt doctor``: what is wrong with this machine, and what to do about it.

``probes`` look, ``node`` and ``run`` decide, ``report`` prints. Start with ``run``.
"""
