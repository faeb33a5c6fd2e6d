"""Starting processes: sandboxes, the helper that makes children, and what waits for them."""
