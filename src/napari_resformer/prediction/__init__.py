"""From an image and a model to a mask and scores: plan, tiles, the job, the result."""
