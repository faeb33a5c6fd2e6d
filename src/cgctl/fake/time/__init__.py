"""What happens while time passes on the kernel in memory: a virtual clock, and what runs by it.

A fluid model: between two events (work that is done, a quota that is used up, a period that begins) everything goes on
at constant rates, so that nothing has to be stepped through and the same always comes out.
"""
