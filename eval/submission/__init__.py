"""A submission to the challenge: begun, checked, packed, and scored as the server does it."""
