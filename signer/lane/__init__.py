"""The fast way of plain signing calls: one thread of a worker takes many of them together from its sockets through the
pipeline and back. Why: docs/adr/0038.

`heads` says which requests are plain, `roads` what answers them, `lane` is the thread's loop, `worker` puts it into
gunicorn. `signer.web.lane` is the same way for whoever runs the WSGI application in another server, or over TLS.
"""
