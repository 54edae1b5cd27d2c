"""`make bench`: signatures per second over HTTP, beside a bare loop on the same HSM library and the same cores."""
