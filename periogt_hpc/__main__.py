"""``python -m periogt_hpc``."""

from periogt_ray.cli import main

if __name__ == "__main__":
    main()
