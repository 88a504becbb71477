"""A model on annotated samples: how well it does, as one report."""
