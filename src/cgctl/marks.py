"""What cgctl leaves on the groups that it makes, by name; the launch helper runs this room too."""

OWNER = "user.cgctl.owner"
"""The extended attribute that says whose a group is; see :mod:`cgctl.owner.mark`."""

SUPERVISOR = "supervisor"
"""The leaf to which the processes of a v2 group move, where the group is to enable controllers."""

SUPERVISOR_MARK = "user.cgctl.supervisor"
"""The extended attribute of a leaf that cgctl made to empty a group: groups go beside it, not below."""

CONTROL = "cgroup.subtree_control"
"""The file of a v2 group that is locked by who counts on its controllers, shared, and by who switches them off."""
