"""Holds a Ray of its own until its standard input closes; prints how to reach it as one line of JSON."""

import json
import sys

from periogt_ray.runtime.local_ray import local_ray
from periogt_ray.runtime.temp_dir import sessions_dir

if __name__ == "__main__":
    with local_ray(n_cpus=2, n_gpus=0, object_store_bytes=256 << 20, include_dashboard=True) as ray_of_test:
        import ray
        from ray._private.utils import write_ray_address

        # As `ray start` does: without it a submitted job is given any Ray that this machine shows, also a Slurm site's.
        assert ray_of_test.temp_dir is not None
        write_ray_address(ray_of_test.address, str(sessions_dir(ray_of_test.temp_dir)))
        facts = {
            "address": ray_of_test.address,
            "environment": dict(ray_of_test.environment),
            "dashboard": ray.get_runtime_context().worker.node.webui_url,
            "temp_dir": str(ray_of_test.temp_dir),
        }
        print(json.dumps(facts), flush=True)
        sys.stdin.read()
