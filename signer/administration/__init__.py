"""What administrators do: make and look after keys, identities and issuers. Called by the pipeline with a permit in
hand."""
