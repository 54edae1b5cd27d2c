"""The `sealmark` command: for operators where the HSM is, for people who keep keys, and for CI jobs that sign.

Commands that talk HTTP need no part of the service: `pip install sealmark` is enough for them. `init`, `serve` and
`ceremony` import the service's own parts when they are called, and say what to install where those are missing.
"""
