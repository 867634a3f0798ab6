"""Real, runnable pipelines."""
