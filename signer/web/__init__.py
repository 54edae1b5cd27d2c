"""HTTP: a view parses, calls and shapes. One file per resource; `endpoints.py` is how a route is described."""
