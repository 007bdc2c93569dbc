"""The layers that confine a worker, one file each: set, then read back."""
