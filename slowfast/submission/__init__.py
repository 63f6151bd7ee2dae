"""Runs on a cluster: sending them there, what happens in the job, and how they are doing."""
