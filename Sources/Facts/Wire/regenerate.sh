#!/bin/sh
# Writes again what is made from docs/api: the Swift messages and the descriptor set.
# protoc is the one of the tests' Python environment (make deps), or what PROTOC names. protoc-gen-swift is
# built from the swift-protobuf that Package.resolved names, so that messages and library are of one release;
# PROTOC_GEN_SWIFT names one that is built already.
# With --check nothing is written: exit status 1 when what is committed is not what would be made.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

protoc=${PROTOC:-$root/.venv/bin/python-grpc-tools-protoc}
plugin=${PROTOC_GEN_SWIFT:-}
if [ -z "$plugin" ]; then
    scratch=$root/.build-debug
    swift build --package-path "$root" --scratch-path "$scratch" --product protoc-gen-swift >&2
    plugin=$scratch/debug/protoc-gen-swift
fi

# A file of docs/api without its ending, and the Swift file that it becomes.
parts="bsfg=Sources/Facts/Wire/bsfg.pb.swift
bsfg-admin=Sources/Gateway/Admin/admin.pb.swift
bsfg-admin-quarantine=Sources/Gateway/Admin/admin-quarantine.pb.swift
bsfg-admin-reading=Sources/Gateway/Admin/admin-reading.pb.swift
bsfg-admin-federation=Sources/Gateway/Admin/Federation/federation.pb.swift"

mkdir "$work/swift"
for part in $parts; do
    "$protoc" --proto_path="$root/docs/api" --plugin="protoc-gen-swift=$plugin" \
        --swift_opt=Visibility=Package --swift_opt=UseAccessLevelOnImports=true \
        --swift_out="$work/swift" "${part%%=*}.proto"
done
"$protoc" --proto_path="$root/docs/api" --descriptor_set_out="$work/bsfg.desc" bsfg.proto

# Every contract has its line above.
for file in "$root"/docs/api/*.proto; do
    case "$parts" in
    *"$(basename "$file" .proto)="*) ;;
    *)
        echo "$file has no place in $0" >&2
        exit 1
        ;;
    esac
done

if [ "${1:-}" = --check ]; then
    for part in $parts; do
        cmp "$work/swift/${part%%=*}.pb.swift" "$root/${part#*=}"
    done
    cmp "$work/bsfg.desc" "$root/docs/api/bsfg.desc"
else
    for part in $parts; do
        cp "$work/swift/${part%%=*}.pb.swift" "$root/${part#*=}"
    done
    # The descriptor set is what the contract promised before: it only ever gains.
    cp "$work/bsfg.desc" "$root/docs/api/bsfg.desc"
fi
