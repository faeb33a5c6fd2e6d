"""systemd as the single writer: scopes, users' own systemds, and what is refused. They run in machines."""
