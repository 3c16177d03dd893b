"""``periogt serve``: the HTTP service on Ray Serve.

A request goes ``http.routes`` -> ``service`` -> a featurizer -> ``batcher`` -> a predictor. ``service`` knows neither
HTTP nor Ray; ``application`` puts the deployments together. Start with ``service``.
"""
