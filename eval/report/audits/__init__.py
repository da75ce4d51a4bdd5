"""An audit of published results as tables, sentences and JSON."""
