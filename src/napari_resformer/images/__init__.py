"""Arrays with named axes: from layer, file or array to planes, their channels, pixel size and normalisation."""
