"""Networks and measured values: how well predictions agree with them, and what intervals follow.

``measured.py`` reads rows with values, ``agreement.py`` has the figures. ``evaluate.py`` compares one property with
them, ``calibrate.py`` makes the intervals of the published weights.
"""
