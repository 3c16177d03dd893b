"""Networks and measured values: finetuning on one's own data, evaluation, calibration.

Finetuning starts at ``run.py``, which does the protocol step by step and can be interrupted anywhere: ``dataset.py``
reads rows and says what became of each, ``splits.py`` divides them, ``trainer.py`` trains one network, ``result.py``
writes what comes of it. ``evaluate.py`` compares predictions with measured values, and ``calibrate.py`` makes the
intervals of the published weights; both read rows by ``measured.py`` and have their figures from ``agreement.py``.
"""
