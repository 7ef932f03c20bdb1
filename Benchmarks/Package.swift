// swift-tools-version: 6.2
import PackageDescription

// Measures the log from outside: only what an embedder can call.
let package = Package(
    name: "Benchmarks",
    dependencies: [.package(name: "bsfg", path: "..")],
    targets: [
        // What appending a new key costs as the number of retained keys grows, and the memory it takes.
        .executableTarget(
            name: "KeyCurve", dependencies: [.product(name: "WriteAheadLog", package: "bsfg")])
    ]
)
