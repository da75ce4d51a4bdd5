"""The networks that ship: manifest, weights, downloads."""
