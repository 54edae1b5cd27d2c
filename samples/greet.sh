#!/bin/sh
# A tiny release: what the other samples sign and verify.
printf 'Hello, %s.\n' "${1:-world}"
