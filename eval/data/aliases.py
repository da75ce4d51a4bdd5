"""Under which names the challenge's sets are known besides those of its template."""

# The challenge has spelled them both ways.
ALIASES = {"valid": ("DIV2K_LSDIR_valid", "LSDIR_DIV2K_valid"), "test": ("DIV2K_LSDIR_test", "LSDIR_DIV2K_test")}
