"""Keys opened for one intent: what a key of each purpose does, and the checks that nobody forgets."""
