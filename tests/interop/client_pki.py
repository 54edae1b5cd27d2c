"""Certificates as an operator makes them, by openssl alone: an authority, a server, clients good and bad, a CRL."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_CONFIGURATION: Final = """
[ca]
default_ca = here
[here]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.crt
private_key = {folder}/ca.key
default_md = sha256
default_days = 2
default_crl_days = 2
policy = anything
unique_subject = no
[anything]
commonName = supplied
"""
_CLIENT: Final = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
_EXTENSIONS: Final = {
    "server": "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n",
    "ci": f"{_CLIENT}subjectAltName=URI:spiffe://shop.example/ci,DNS:ci.shop.example\n",
    "named": f"{_CLIENT}subjectAltName=URI:spiffe://shop.example/named\n",
    "unbound": _CLIENT,
    "revoked": f"{_CLIENT}subjectAltName=DNS:revoked.shop.example\n",
    "expired": f"{_CLIENT}subjectAltName=DNS:expired.shop.example\n",
    "for-servers": "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:servers.shop.example\n",
}


def openssl(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What an openssl command prints. Raises `AssertionError` with its words if it fails."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_key(folder: Path, name: str) -> None:
    """NAME.key, P-256."""
    openssl(folder, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    (folder / f"{name}.key").chmod(0o600)


def make_pki(folder: Path) -> Path:
    """ca.crt, ca.crl, and NAME.crt with NAME.key for the names above; `stranger` is of another authority."""
    folder.mkdir()
    (folder / "ca.cnf").write_text(_CONFIGURATION.format(folder=folder))
    (folder / "index.txt").touch()
    (folder / "serial").write_text("1000\n")
    for authority in ("ca", "other-ca"):
        make_key(folder, authority)
        subject = ("-subj", f"/CN={authority}", "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl(folder, "req", "-x509", "-new", "-key", f"{authority}.key", "-out", f"{authority}.crt", *subject)
    for name, extensions in _EXTENSIONS.items():
        _request(folder, name, extensions)
        times = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z") if name == "expired" else ()
        certificate = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext", *times)
        openssl(folder, "ca", "-batch", "-notext", "-config", "ca.cnf", *certificate)
    _request(folder, "stranger", _EXTENSIONS["ci"])
    issuer = ("-CA", "other-ca.crt", "-CAkey", "other-ca.key", "-CAcreateserial", "-days", "2")
    openssl(folder, "x509", "-req", "-in", "stranger.csr", "-out", "stranger.crt", "-extfile", "stranger.ext", *issuer)
    openssl(folder, "ca", "-config", "ca.cnf", "-gencrl", "-out", "ca.crl")
    return folder


def revoke(folder: Path, name: str) -> None:
    """Revokes a certificate and renews ca.crl, as an authority does."""
    openssl(folder, "ca", "-config", "ca.cnf", "-revoke", f"{name}.crt")
    openssl(folder, "ca", "-config", "ca.cnf", "-gencrl", "-out", "new.crl")
    (folder / "new.crl").replace(folder / "ca.crl")


def _request(folder: Path, name: str, extensions: str) -> None:
    make_key(folder, name)
    (folder / f"{name}.ext").write_text(extensions)
    openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
