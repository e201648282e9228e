"""Clusters: files for Ray's own launcher, Kubernetes, Slurm and SkyPilot; their price; a check of every node."""
