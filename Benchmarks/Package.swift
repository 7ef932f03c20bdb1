// swift-tools-version: 6.2
import PackageDescription

// Measures the log from outside: only what an embedder can call.
let package = Package(
    name: "Benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "bsfg", path: "..")],
    targets: [
        // The log in the workloads that other logs are measured by, one process a run.
        .executableTarget(
            name: "wal-peer-driver", dependencies: [.product(name: "WriteAheadLog", package: "bsfg")]),
        // What appending a new key costs as the number of retained keys grows, and the memory it takes.
        .executableTarget(
            name: "KeyCurve", dependencies: [.product(name: "WriteAheadLog", package: "bsfg")]),
    ]
)
