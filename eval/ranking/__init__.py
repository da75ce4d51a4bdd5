"""The challenge's rules: editions, scores, ranks, audits. Runs no model."""
