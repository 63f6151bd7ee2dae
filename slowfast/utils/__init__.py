"""Leaves: of use in a project without a single video, and importing nothing else of this package."""
