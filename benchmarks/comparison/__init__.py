"""How `make bench-peers` runs, measures and shows the peers in ../peers."""
