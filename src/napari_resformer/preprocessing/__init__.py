"""From a plane to the tensor that the network sees, and from its answer back to the plane."""
