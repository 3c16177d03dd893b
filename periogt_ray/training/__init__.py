"""Networks and measured values: finetuning on one's own property, evaluation, calibration.

Start with :mod:`~periogt_ray.training.trainer`: one network, update by update, as the authors train it.
:mod:`~periogt_ray.training.evaluate` compares predictions with measured values, and
:mod:`~periogt_ray.training.calibrate` gives the published weights intervals. What all of them read and
draw is in modules that say so. torch is loaded here, and neither Ray nor click where a network is trained.
"""
