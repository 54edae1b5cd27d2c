"""What the make targets run: set-up, the demonstration, the benchmark. Nothing here is part of a distribution."""
