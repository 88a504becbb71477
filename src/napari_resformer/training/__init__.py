"""From annotated samples to a model: augmentation, losses, the training generator, checkpoints."""
