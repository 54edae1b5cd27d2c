"""The witness: a program of its own, with its own key and store, that cosigns the growth of transparency logs.

It is run by somebody else than the service, on another machine: that is its whole worth. So it shares no code with the
service, only the public API of the verifier, and its key is a file and not in the service's HSM (docs/witness.md).
"""
