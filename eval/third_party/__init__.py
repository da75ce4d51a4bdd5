"""Checkouts of other teams' code: run where it can harm nobody."""
