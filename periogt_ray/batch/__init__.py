"""``periogt batch``: a table in, a table out, resumable, on Ray Data.

``pipeline`` runs rows through the two stages (``featurize_stage``, ``predict_stage``), ``parts`` keeps what is
finished, ``output_file`` writes the table, whose columns ``output`` knows. ``resume`` decides whether a run may go on
with an earlier one. ``failures`` says which errors are a row's and which end the run. Start with ``run``.
"""
