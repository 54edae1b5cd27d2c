#!/bin/sh
# Compiles the pinned, hashed requirement files from pyproject.toml and verifier/pyproject.toml. `make lock` runs it.
# Needs uv: UV=/path/to/uv, or one on PATH. The local package sealmark-verifier is never written into them.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

compile() { # output, then uv's own arguments
    output=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --no-emit-package sealmark-verifier --output-file "$scratch/$output" "$@" >"$scratch/log"
    { printf '# Compiled by `make lock`. Install with pip install --require-hashes.\n'; cat "$scratch/$output"; } >"requirements/$output"
}

[ -z "${KEEP-}" ] || cp requirements/*.txt "$scratch/" # KEEP=1: move only what must move
compile dev.txt pyproject.toml --extra server --extra tracing --extra dev
# The others are parts of dev.txt: one version of everything.
compile server.txt pyproject.toml --extra server --constraint requirements/dev.txt
compile client.txt pyproject.toml --constraint requirements/dev.txt
compile verifier.txt verifier/pyproject.toml --constraint requirements/dev.txt
compile python3-saml.txt requirements/python3-saml.in
compile node.txt requirements/node.in
compile tlog.txt requirements/tlog.in
compile aws.txt requirements/aws.in
compile bench.txt requirements/bench.in
compile hostile.txt requirements/hostile.in
compile fuzz.txt requirements/fuzz.in pyproject.toml --extra server --constraint requirements/dev.txt
wc -l requirements/*.txt
