"""The record of one model on one set: its form, its file, and which ones count."""
