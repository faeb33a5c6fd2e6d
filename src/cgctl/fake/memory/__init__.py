"""What limits on memory do: charging up the tree, reclaim, swap, throttling, and the OOM killer."""
