"""Root directories."""
