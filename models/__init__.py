"""Networks in deploy form, one a file. Nothing here reads a file, parses flags or runs at import."""
