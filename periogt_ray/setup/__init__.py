"""``periogt setup``: fetch, verify, convert and install the published model files.

Every step may be killed and run again. Start with ``run``.
"""
