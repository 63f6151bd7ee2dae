"""Is this machine fit for a run? What is looked at, and what to do where it is not."""
