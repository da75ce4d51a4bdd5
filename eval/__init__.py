"""Evaluation harness of the Efficient Super-Resolution challenge. Import as ``from eval.x import y``."""
