"""Arrays with named axes: layers, planes, lazy regions, pyramids and units."""
