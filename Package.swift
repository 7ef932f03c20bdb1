// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

// Arrows point down only: bsfg -> Gateway -> RPC, Replication -> Buffers -> Facts, WriteAheadLog.
let package = Package(
    name: "bsfg",
    products: [
        .library(name: "WriteAheadLog", targets: ["WriteAheadLog"]),
        .executable(name: "bsfg", targets: ["bsfg"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // CRC32C in hardware and the Linux calls that Swift's Glibc module hides.
        .target(name: "CPlatform", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(
            name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),

        // The core: a log that any program can embed. Standard library, liblz4 and libcrypto only.
        .target(
            name: "WriteAheadLog", dependencies: ["CPlatform", "CLZ4", "COpenSSL"],
            swiftSettings: settings),

        // What proves the core: a simulated disk and clock, the crash explorer, the oracle.
        .target(
            name: "LogSimulation", dependencies: ["WriteAheadLog", "CPlatform"],
            swiftSettings: settings),

        // The record and the contract: envelope, fact, canonical JSON, digests, wire messages.
        .target(
            name: "Facts",
            dependencies: [
                "COpenSSL", "CPlatform",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            exclude: ["Wire/regenerate.sh"],
            swiftSettings: settings),

        // The ports (store buffer, forward buffer, cursor tracker) and their log-backed form.
        .target(
            name: "Buffers", dependencies: ["Facts", "WriteAheadLog"], swiftSettings: settings),

        // Handoff, history checks and cursor initialisation as state machines without I/O.
        .target(
            name: "Replication",
            dependencies: [
                "Buffers", "Facts", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings),

        // Connect over HTTP/1.1 and HTTP/2 with mutual TLS. The only target that imports NIO.
        .target(
            name: "RPC",
            dependencies: [
                "Facts", "COpenSSL", "CZlib", "CLZ4", "CNGHTTP2", "CPlatform",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOExtras", package: "swift-nio-extras"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ],
            swiftSettings: settings),

        // Composition and operation of a node.
        .target(
            name: "Gateway",
            dependencies: [
                "Facts", "WriteAheadLog", "Buffers", "Replication", "RPC", "COpenSSL", "CPlatform",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: settings),

        // What `bench` sends and how it counts: schedules, facts, latencies, figures.
        .target(
            name: "Load",
            dependencies: [
                "Facts", "RPC", .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: settings),

        // The command line: one file a noun.
        .executableTarget(
            name: "bsfg",
            dependencies: [
                "Gateway", "WriteAheadLog", "LogSimulation", "Facts", "Buffers", "Replication", "RPC", "Load",
                "CZlib",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            resources: [.copy("Resources")],
            swiftSettings: settings),

        // The program of docs/embedding.md: the log by itself, as another program would use it.
        .executableTarget(
            name: "embedding-example", dependencies: ["WriteAheadLog"], path: "docs/embedding",
            swiftSettings: settings),

        .testTarget(
            name: "WriteAheadLogTests", dependencies: ["WriteAheadLog", "CPlatform"],
            swiftSettings: settings),
        .testTarget(
            name: "LogSimulationTests", dependencies: ["LogSimulation", "WriteAheadLog"],
            swiftSettings: settings),
        .testTarget(
            name: "FactsTests",
            dependencies: [
                "Facts", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "BuffersTests",
            dependencies: ["Buffers", "WriteAheadLog", "Facts", "LogSimulation"],
            swiftSettings: settings),
        .testTarget(
            name: "ReplicationTests",
            dependencies: [
                "Replication", "Buffers", "Facts",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "RPCTests",
            dependencies: [
                "RPC", "Facts",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .testTarget(name: "LoadTests", dependencies: ["Load", "Facts", "RPC"], swiftSettings: settings),
        .testTarget(
            name: "GatewayTests",
            dependencies: [
                "Gateway", "Facts", "Buffers", "Replication", "RPC", "WriteAheadLog",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
    ]
)
