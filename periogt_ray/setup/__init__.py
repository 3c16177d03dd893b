"""``periogt setup``: fetch, verify, convert and install the published model files.

``published`` is the catalogue of those files. Setup is a list of steps (``fetch_step``, ``convert_step``,
``verify_step``, ``activate_step``) over one ``state``; every step may be killed and run again. Start with ``run``.
"""
