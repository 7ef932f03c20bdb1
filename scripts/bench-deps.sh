#!/bin/sh
# Installs what the log is measured beside: other logs as Debian packages, NATS and the library that
# draws from PyPI. What cannot be had is named here, and skipped by the benchmark.
set -u
cd "$(dirname "$0")/.."

packages="g++ golang-go golang-etcd-server-dev golang-github-nats-io-go-nats-dev librocksdb-dev libsqlite3-dev liblmdb-dev"
absent=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        absent="$absent $package"
done
if [ -n "$absent" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    $sudo apt-get update -q >/dev/null 2>&1
    # One at a time: a package that a release does not have must not keep the others away.
    for package in $absent; do
        $sudo apt-get install -y -q --no-install-recommends "$package" >/dev/null 2>&1 ||
            echo "bench-deps: could not install $package" >&2
    done
fi

environment=.venv-bench
stamp=$environment/requirements.txt
if ! cmp -s Benchmarks/requirements.txt "$stamp"; then
    { [ -x $environment/bin/python ] || python3 -m venv $environment; } >/dev/null 2>&1
    if $environment/bin/python -m pip install -q --disable-pip-version-check \
        -r Benchmarks/requirements.txt >/dev/null 2>&1; then
        cp Benchmarks/requirements.txt "$stamp"
    else
        echo "bench-deps: could not install Benchmarks/requirements.txt" >&2
    fi
fi
exit 0
