"""A folder of images becomes checked pairs of 8-bit RGB."""
