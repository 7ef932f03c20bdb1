// swift-tools-version: 6.2
import PackageDescription

// What single steps cost, in allocations and instructions: numbers that do not depend on the moment,
// so that a test can hold them against Benchmarks/thresholds.json. A package of its own, because it
// looks inside: it builds the project's targets (links in Sources) once more, optimised and testable.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(["-enable-testing"]),
]

let package = Package(
    name: "bsfg-micro",
    dependencies: [
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0")
    ],
    targets: [
        .target(name: "CPlatform", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto"),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4"),
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
        // Stands in front of the C library's allocator and counts.
        .target(name: "AllocationCounter", cSettings: [.define("_GNU_SOURCE")]),
        .executableTarget(
            name: "MicroBenchmarks",
            dependencies: ["WriteAheadLog", "Facts", "CPlatform", "AllocationCounter"],
            swiftSettings: settings),
    ]
)
