"""Whose a group is, and what becomes of it when that process has ended, however it ended.

`mark` is what a group carries, `ending` removes groups and undoes what their making took, `orphans` finds those that
are to be removed. The first two run in the launch helper too, which has nothing else of cgctl.

Three rules hold all of it together:

- Whoever makes a group holds the lock of the directory above, shared, from before the ``mkdir`` until the mark is on
  it. Whoever removes a group that is not its own holds that lock exclusively while it looks at the mark and removes. So
  nobody is taken for an orphan who has only just begun, and no name is removed that has been made anew meanwhile.
- A group has the sticky bit from its ``mkdir`` until its mark is on it. One that has the bit and no mark while the
  directory above is locked exclusively is what a process left that was killed between the two.
- Whoever makes a group on v2 holds the locks of the ``cgroup.subtree_control`` files above, shared, until its limits
  are set. Whoever switches controllers off holds the one exclusively.
"""
