"""What a WSGI server imports: `gunicorn wsgi:app`, with SEALMARK_STATE naming the state directory."""

from signer.app import create_app

app = create_app()
