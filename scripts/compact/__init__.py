"""Training of the embedded model; a package beside its script, not a part of periogt_ray."""
