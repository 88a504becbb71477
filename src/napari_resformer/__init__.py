"""Segment and classify images with one network, in napari, on the command line and in Python."""
