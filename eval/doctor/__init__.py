"""Whether this installation computes right: known inputs, known answers."""
