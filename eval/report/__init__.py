"""Records become tables. The only place that rounds."""
