"""``periogt batch``: CSV in, CSV out, resumable, on Ray Data.

``csv_input`` reads rows, ``pipeline`` runs them through the two stages (``featurize_stage``, ``predict_stage``),
``parts`` keeps what is finished, ``output`` writes the CSV. ``resume`` decides whether a run may go on with an
earlier one. ``failures`` says which errors are a row's and which end the run. Start with ``run``.
"""
