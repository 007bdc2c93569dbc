"""From exact integers to what may leave: intake, noise, post-processing, the store of releases."""
