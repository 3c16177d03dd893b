"""One Ray over the nodes of a Slurm job: ``python -m periogt_ray.slurm``, which the sbatch scripts call.

``preflight`` checks before a job is queued, ``head`` runs on the first node, ``node`` on every node, ``job`` knows what
Slurm granted. Start with ``__main__``.
"""
