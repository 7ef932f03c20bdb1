#!/bin/sh
# What `make install` does: the program with the Swift libraries that it needs, its unit, its user, and the
# directory of its node with the modes that keep others out.
#
#   BINARY=build/bsfg PREFIX=/usr/local DESTDIR= ROOT=/opt/bsfg scripts/install.sh
set -eu

: "${BINARY:?the program to install}"
PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
ROOT=${ROOT:-/opt/bsfg}
USER_NAME=bsfg
HERE=$(cd "$(dirname "$0")/.." && pwd)
LIBRARIES=$DESTDIR$PREFIX/lib/bsfg

fail() {
    echo "install: $*" >&2
    exit 1
}

case $PREFIX$ROOT in
    *[!A-Za-z0-9/._-]*) fail "PREFIX and ROOT are paths of letters, digits and ._-/" ;;
esac
[ -x "$BINARY" ] || fail "$BINARY is not there; run make release"

# The program and the libraries of its toolchain, which it finds beside itself where there is no toolchain.
install -d -m 755 "$LIBRARIES" "$DESTDIR$PREFIX/bin" "$DESTDIR$PREFIX/share/bsfg"
install -m 755 "$BINARY" "$LIBRARIES/bsfg.new"
mv -f "$LIBRARIES/bsfg.new" "$LIBRARIES/bsfg"
ldd "$BINARY" | sed -n 's/.*=> \(.*\/swift\/linux\/[^ ]*\) (.*/\1/p' | while read -r library; do
    install -m 644 "$library" "$LIBRARIES/$(basename "$library").new"
    mv -f "$LIBRARIES/$(basename "$library").new" "$LIBRARIES/$(basename "$library")"
done
ln -sfn ../lib/bsfg/bsfg "$DESTDIR$PREFIX/bin/bsfg"
install -m 644 "$HERE"/Sources/bsfg/Resources/* "$DESTDIR$PREFIX/share/bsfg/"

fill() {
    install -d -m 755 "$(dirname "$2")"
    sed -e "s|@PREFIX@|$PREFIX|g" -e "s|@ROOT@|$ROOT|g" -e "s|@USER@|$USER_NAME|g" "$1" > "$2.new"
    chmod 644 "$2.new"
    mv -f "$2.new" "$2"
}
fill "$HERE/packaging/bsfg-controller.service.in" "$DESTDIR$PREFIX/lib/systemd/system/bsfg-controller.service"
fill "$HERE/packaging/bsfg.sysusers.in" "$DESTDIR$PREFIX/lib/sysusers.d/bsfg.conf"

# The directory of the node belongs to its user: nobody else reads its key, its data or its socket.
install -d -m 755 "$DESTDIR$(dirname "$ROOT")"
if [ -n "$DESTDIR" ] || [ "$(id -u)" -ne 0 ]; then
    [ -d "$DESTDIR$ROOT" ] || install -d -m 750 "$DESTDIR$ROOT" \
        || fail "$ROOT cannot be made; run it as root, or give ROOT or DESTDIR"
    echo "install: without root or under DESTDIR: the user $USER_NAME was not made, and $ROOT is not its own;"
    echo "install: on the machine: systemd-sysusers, then chown $USER_NAME:$USER_NAME $ROOT"
else
    if ! id "$USER_NAME" > /dev/null 2>&1; then
        useradd --system --user-group --no-create-home --home-dir "$ROOT" \
            --shell /usr/sbin/nologin "$USER_NAME"
        echo "install: made the user $USER_NAME"
    fi
    [ -d "$ROOT" ] || install -d -m 750 -o "$USER_NAME" -g "$USER_NAME" "$ROOT"
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
fi
echo "install: $DESTDIR$PREFIX/bin/bsfg; next: bsfg init --root $ROOT --zone ZONE --identity ZONE-bsfg --address ADDRESS"
