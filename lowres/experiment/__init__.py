"""Plans, workers, executors and results."""
