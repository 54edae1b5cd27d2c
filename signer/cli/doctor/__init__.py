"""`sealmark doctor`: what is wrong with a state directory and its host, and what to do about it."""
