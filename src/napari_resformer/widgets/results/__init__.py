"""Results in napari: layers, scores, tables."""
