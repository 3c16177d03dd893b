"""Holds a Ray of its own until its standard input closes; prints how to reach it as one line of JSON."""

import json
import sys

from periogt_ray.runtime.local_ray import local_ray

if __name__ == "__main__":
    with local_ray(n_cpus=2, n_gpus=0, object_store_bytes=256 << 20, include_dashboard=True) as ray_of_test:
        import ray

        facts = {
            "address": ray_of_test.address,
            "environment": dict(ray_of_test.environment),
            "dashboard": ray.get_runtime_context().worker.node.webui_url,
            "temp_dir": str(ray_of_test.temp_dir),
        }
        print(json.dumps(facts), flush=True)
        sys.stdin.read()
