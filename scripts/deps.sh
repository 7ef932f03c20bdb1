#!/bin/sh
# Fetches and installs what building and testing need, once; names what it could not get. After it,
# demo and test need no network.
set -u
cd "$(dirname "$0")/.."
missing=""

# Package, and a file that says it is there.
need() {
    [ -e "$2" ] || command -v "$2" >/dev/null 2>&1 || packages="$packages $1"
}
packages=""
need liblz4-dev /usr/include/lz4.h
need libssl-dev /usr/include/openssl/ssl.h
need zlib1g-dev /usr/include/zlib.h
need libnghttp2-dev /usr/include/nghttp2/nghttp2.h
need pkg-config pkg-config
need curl curl
need strace strace
need e2fsprogs /sbin/mkfs.ext4
need xfsprogs /sbin/mkfs.xfs
need openssl openssl
need valgrind valgrind
need binutils strip
python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
if [ -n "$packages" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    # shellcheck disable=SC2086
    if command -v apt-get >/dev/null 2>&1; then
        $sudo apt-get install -y -q $packages >/dev/null 2>&1 || {
            $sudo apt-get update -q >/dev/null 2>&1
            $sudo apt-get install -y -q $packages >/dev/null 2>&1
        } || missing="$missing $packages"
    else
        missing="$missing $packages"
    fi
fi

stamp=.venv/requirements.txt
if ! cmp -s Tests/Interop/requirements.txt "$stamp"; then
    { [ -x .venv/bin/python ] || python3 -m venv .venv; } >/dev/null 2>&1
    if .venv/bin/python -m pip install -q --disable-pip-version-check \
        -r Tests/Interop/requirements.txt >/dev/null 2>&1; then
        cp Tests/Interop/requirements.txt "$stamp"
    else
        missing="$missing python-packages(Tests/Interop/requirements.txt)"
    fi
fi

command -v swift >/dev/null 2>&1 || missing="$missing swift-6.3"
if command -v swift >/dev/null 2>&1; then
    swift package --scratch-path .build-debug resolve >/dev/null 2>&1 ||
        missing="$missing swift-packages(Package.swift)"
fi

if [ -n "$missing" ]; then
    echo "deps: could not get:$missing" >&2
    echo "deps: install them by hand; what needs them fails or is skipped with a line that says so" >&2
fi
exit 0
