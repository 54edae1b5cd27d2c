#!/bin/sh
# Leaves the service running for a tour by hand, with its state in ./.sealmark (made at the first run). Ctrl-C stops it.
# BIND=127.0.0.1:8200 chooses another address.
set -eu
cd "$(dirname "$0")/.."
bind=${BIND:-127.0.0.1:8200}
state=.sealmark
[ -e "$state/sealmark.toml" ] || .venv/bin/sealmark init --state "$state"
cat <<EOF

Sealmark's state is in ./$state; the service will listen on http://$bind. In another terminal:

  export PATH="\$PWD/.venv/bin:\$PATH" SEALMARK_URL=http://$bind
  sealmark --token-file $state/admin.token whoami          # identities: user/admin
  sealmark --token-file $state/key-admin.token keys list   # keys: user/key-admin

README.md has the tour. Ctrl-C stops the service; removing ./$state forgets everything, keys included.

EOF
exec .venv/bin/sealmark serve --state "$state" --bind "$bind"
