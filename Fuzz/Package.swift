// swift-tools-version: 6.2
import PackageDescription

// The programs that try to break what reads bytes from outside. A package of its own, because it
// builds the project's targets (links in Sources) once more: optimised, instrumented for coverage
// and with AddressSanitizer. Dependencies are built as always.

let language: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let settings: [SwiftSetting] = language + [
    .unsafeFlags(["-sanitize=fuzzer,address", "-enable-testing"])
]

let http: [Target.Dependency] = [
    "RPC", "Facts",
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOEmbedded", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
    .product(name: "Logging", package: "swift-log"),
]

/// One program: the target's name in lower case is its name for run.py.
func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: "Fuzz" + name, dependencies: dependencies + ["FuzzDriver"],
        swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])],
        // lld, because the package manager's and libFuzzer's main are one too many for others.
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])])
}

let package = Package(
    name: "bsfg-fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .target(name: "CPlatform", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(
            name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .target(
            name: "WriteAheadLog", dependencies: ["CPlatform", "CLZ4", "COpenSSL"],
            swiftSettings: settings),
        .target(
            name: "Facts",
            dependencies: [
                "COpenSSL", "CPlatform",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            exclude: ["Wire/regenerate.sh"],
            swiftSettings: settings),
        .target(
            name: "Buffers", dependencies: ["Facts", "WriteAheadLog"], swiftSettings: settings),
        .target(
            name: "Replication",
            dependencies: [
                "Buffers", "Facts", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings),
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
        .target(name: "FuzzDriver", swiftSettings: language),
        fuzzer("Scanner", ["WriteAheadLog"]),
        fuzzer("Manifest", ["WriteAheadLog"]),
        fuzzer("Log", ["WriteAheadLog"]),
        fuzzer("Sealed", ["WriteAheadLog"]),
        fuzzer("Run", ["WriteAheadLog"]),
        fuzzer("JSON", ["Facts"]),
        fuzzer(
            "Wire",
            [
                "Facts",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ]),
        fuzzer("HTTP1", http),
        fuzzer("HTTP2", http),
        fuzzer("Connect", http),
        fuzzer("GRPC", http),
        fuzzer("Configuration", ["Gateway", "RPC"]),
        fuzzer("Certificate", ["RPC"]),
        fuzzer("Revocation", ["RPC"]),
    ]
)
