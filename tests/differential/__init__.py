"""The in-memory kernel and the real one, driven side by side: after every step they must answer and read the same."""
