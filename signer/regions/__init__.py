"""Multi-region keys between deployments of one account: what one says to another, sending it, and taking it in."""
