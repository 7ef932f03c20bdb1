#!/bin/sh
# Writes again what is made from docs/api/bsfg.proto: the Swift messages and the descriptor set.
# Needs protoc (Debian: protobuf-compiler) and protoc-gen-swift of the swift-protobuf release named
# below; PROTOC_GEN_SWIFT names one that is built already, otherwise it is built once (a minute).
# With --check nothing is written: exit status 1 when what is committed is not what would be made.
set -eu
release=1.39.0
root=$(cd "$(dirname "$0")/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

plugin=${PROTOC_GEN_SWIFT:-}
if [ -z "$plugin" ]; then
    source=${TMPDIR:-/tmp}/bsfg-swift-protobuf-$release-$(id -u)
    plugin=$source/.build/debug/protoc-gen-swift
    if [ ! -x "$plugin" ]; then
        rm -rf "$source"
        git clone --quiet --depth 1 --branch "$release" \
            https://github.com/apple/swift-protobuf "$source"
        swift build --package-path "$source" --product protoc-gen-swift
    fi
fi

mkdir "$work/swift"
protoc --proto_path="$root/docs/api" --plugin="protoc-gen-swift=$plugin" \
    --swift_opt=Visibility=Package --swift_opt=UseAccessLevelOnImports=true \
    --swift_out="$work/swift" bsfg.proto
# The administration's parts, each made into a file of its own.
for part in admin admin-federation admin-quarantine admin-reading; do
    protoc --proto_path="$root/docs/api" --plugin="protoc-gen-swift=$plugin" \
        --swift_opt=Visibility=Package --swift_opt=UseAccessLevelOnImports=true \
        --swift_out="$work/swift" "bsfg-$part.proto"
done
protoc --proto_path="$root/docs/api" --descriptor_set_out="$work/bsfg.desc" bsfg.proto

if [ "${1:-}" = --check ]; then
    cmp "$work/swift/bsfg.pb.swift" "$root/Sources/Facts/Wire/bsfg.pb.swift"
    for part in admin admin-quarantine admin-reading; do
        cmp "$work/swift/bsfg-$part.pb.swift" "$root/Sources/Gateway/Admin/$part.pb.swift"
    done
    cmp "$work/swift/bsfg-admin-federation.pb.swift" \
        "$root/Sources/Gateway/Admin/Federation/federation.pb.swift"
    cmp "$work/bsfg.desc" "$root/docs/api/bsfg.desc"
else
    cp "$work/swift/bsfg.pb.swift" "$root/Sources/Facts/Wire/bsfg.pb.swift"
    for part in admin admin-quarantine admin-reading; do
        cp "$work/swift/bsfg-$part.pb.swift" "$root/Sources/Gateway/Admin/$part.pb.swift"
    done
    cp "$work/swift/bsfg-admin-federation.pb.swift" \
        "$root/Sources/Gateway/Admin/Federation/federation.pb.swift"
    # The descriptor set is what the contract promised before: it only ever gains.
    cp "$work/bsfg.desc" "$root/docs/api/bsfg.desc"
fi
