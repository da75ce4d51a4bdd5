"""What is measured of pixels and of networks."""
