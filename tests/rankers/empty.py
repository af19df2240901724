"""A module without a function."""
