import Foundation
import Testing

/// The command line itself: exit status and what goes to which stream.
@Suite struct ConfigurationCommandTests {
    private struct Result {
        let status: Int32
        let output: String
        let errors: String
    }

    /// The executable stands beside the test bundle.
    private static var program: String {
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("bsfg").path
    }

    private func bsfg(_ arguments: String...) throws -> Result {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.program)
        process.arguments = arguments
        let output = Pipe()
        let errors = Pipe()
        process.standardOutput = output
        process.standardError = errors
        process.standardInput = FileHandle.nullDevice
        try process.run()
        // Both stay far below a pipe's buffer.
        let written = output.fileHandleForReading.readDataToEndOfFile()
        let complained = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: String(decoding: written, as: UTF8.self),
            errors: String(decoding: complained, as: UTF8.self))
    }

    @Test func theFirstHourWorksAsPrinted() throws {
        let root = NSTemporaryDirectory() + "command-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        let started = try bsfg(
            "init", "--root", root, "--zone", "plant-a", "--identity", "plant-a-bsfg", "--address",
            "127.0.0.1", "--address", "plant-a.example")
        #expect(started.status == 0, "\(started.errors)")
        let commands = started.output.split(separator: "\n").filter { $0.hasPrefix("  bsfg ") }
        #expect(commands.count == 3)
        for command in commands.dropLast() {
            let words = command.split(separator: " ").dropFirst().map(String.init)
            let process = Process()
            process.executableURL = URL(fileURLWithPath: Self.program)
            process.arguments = words
            process.standardOutput = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0, "\(command)")
        }
        #expect(commands.last?.contains("serve --config") == true)

        let status = try bsfg("cert", "status", "--config", root, "-o", "json")
        #expect(status.status == 0, "\(status.output)\(status.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(status.output.utf8))
        let report = try #require(json as? [String: Any])
        let certificates = try #require(report["certificates"] as? [[String: Any]])
        #expect(certificates.count == 2)
        #expect(certificates[0]["subject"] as? String == "CN = plant-a-bsfg")
        #expect((report["warnings"] as? [String])?.isEmpty == true)
        let table = try bsfg("cert", "status", "--config", root)
        #expect(table.output.hasPrefix("ROLE "))

        let again = try bsfg(
            "cert", "issue", "--ca", "\(root)/ca", "--identity", "plant-a-bsfg", "--address",
            "127.0.0.1", "--out", "\(root)/certs")
        #expect(again.status == 1)
        #expect(again.errors.hasPrefix("bsfg: ") && again.errors.contains("--force"))
        #expect(again.output.isEmpty)
        let client = try bsfg(
            "cert", "issue", "--ca", "\(root)/ca", "--identity", "historian", "--out",
            "\(root)/clients")
        #expect(client.status == 0)
        #expect(FileManager.default.fileExists(atPath: "\(root)/clients/client.key"))

        try Data("zoen: x\n".utf8).write(to: URL(fileURLWithPath: "\(root)/config/bsfg.yaml"))
        let wrong = try bsfg("cert", "status", "--config", "\(root)/config")
        #expect(wrong.status == 2)
        #expect(
            wrong.errors.contains(
                "bsfg.yaml:1:1: bsfg.yaml has no key 'zoen'; did you mean 'zone'?"))
    }

    @Test func wrongCommandLinesHaveTheirOwnStatus() throws {
        #expect(try bsfg("nonsense").status == 2)
        #expect(try bsfg("cert", "issue").status == 2)
        #expect(
            try bsfg(
                "init", "--root", "/nowhere", "--zone", "A", "--identity", "a", "--address", "a"
            ).status == 2)
        #expect(try bsfg("cert", "status", "--config", "/nowhere").status == 2)
        #expect(
            try bsfg("cert", "issue", "--ca", "/nowhere", "--identity", "a", "--out", "/x").status
                == 1)
        let help = try bsfg("--help")
        #expect(help.status == 0 && help.output.contains("Exit status: 0 done"))
        let version = try bsfg("version", "-o", "json")
        #expect(version.status == 0)
        #expect(version.output.hasPrefix("{\"version\":\""))
        #expect(try bsfg("version", "-o", "xml").status == 2)
    }
}
