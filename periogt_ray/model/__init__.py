"""The network, batches of graphs, and predictions. Torch, no Ray.

``tasks`` says what can be computed, ``predictor.Predictor`` computes it, ``network`` is the network itself. Start with
``predictor``.
"""
