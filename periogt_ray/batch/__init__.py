"""``periogt batch``: CSV in, CSV out, resumable, on Ray Data.

``csv_input`` reads rows, ``pipeline`` runs them through the two stages, ``parts`` keeps what is finished. Start with
``run``.
"""
