"""From an LR image to an SR image: whole or in tiles, by an engine."""
