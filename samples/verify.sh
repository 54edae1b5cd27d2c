#!/bin/sh
# Checks a release as whoever downloaded it: each file of SHA256SUMS by its digest, by its signature with two tools that
# share no code, and by the proof that the signature is in the service's log. Needs sha256sum, openssl and sealmark-verify; nothing of the service, and no network.
#
#   verify.sh FOLDER TRUST AUTHORITY     TRUST: trust.json; AUTHORITY: the CA's certificate, PEM; both from a way you trust
set -eu
[ $# -eq 3 ] || { echo "usage: verify.sh FOLDER trust.json ca.pem" >&2; exit 2; }
folder=$1 trust=$2 authority=$3

(cd "$folder" && sha256sum --check --strict --quiet SHA256SUMS)
{ sed 's/^[0-9a-f]* [ *]//' "$folder/SHA256SUMS"; echo SHA256SUMS; } | while IFS= read -r name; do
    file=$folder/$name
    openssl cms -verify -binary -purpose any -inform DER -in "$file.p7s" -content "$file" \
        -CAfile "$authority" -out /dev/null
    sealmark-verify artifact "$file" --signature "$file.p7s" --trust "$trust" --proof "$file.tlog-proof"
done
echo "$folder is as it was signed."
