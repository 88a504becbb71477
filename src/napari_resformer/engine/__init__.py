"""Where a job runs: here, in a worker process, later on a cluster."""
