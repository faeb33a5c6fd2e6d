"""systemd, the single writer of its cgroup tree: whose a part of the tree is, and how to be given one.

``delegation`` tells by looking, ``bus`` talks, ``scope`` asks for a unit of our own.
"""
