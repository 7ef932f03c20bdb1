internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Glibc
internal import RPC

struct FederationCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "federation",
        abstract: "Brings up a federation with a peer: plan, preflight, drill, accept.",
        discussion: """
            Exit status: 0 nothing stands in the way, 1 something does (failed, or required and \
            neither checked nor waived), 2 wrong command line or configuration, 4 a node does not \
            answer.
            """,
        subcommands: [
            FederationPlanCommand.self, FederationPreflight.self, FederationDrillCommand.self,
            FederationAccept.self, FederationEvidence.self,
        ])
}

struct FederationEvidence: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evidence",
        abstract: "Writes what this node says of itself, for --evidence on the other side.",
        discussion: "Configuration in force, logs, positions, cursors, gates and who was refused last; no keys and no facts.")

    @Option(help: ArgumentHelp("Where it goes.", valueName: "FILE"))
    var out: String

    @OptionGroup var node: NodeConnection

    func run() async throws {
        guard case .socket(let path) = try node.route(.administration) else {
            preconditionFailure("administration has a socket")
        }
        let evidence = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await FederationDrill.Side(socketPath: path).evidence(withRefusals: true)
        }
        try ReportFiles.write(try evidence.json(), to: out)
        StandardOutput.line("wrote \(out): \(evidence.zone) at \(UTCText.text(evidence.takenAtUnixMs / 1_000))")
    }
}

/// Files that a command leaves behind: whole or not at all.
enum ReportFiles {
    /// Whether files can be written there is known only once one was.
    static func requireWritable(_ directory: String) throws {
        let path = "\(directory)/.bsfg-\(String(UInt64.random(in: 0...UInt64.max), radix: 16))"
        defer { unlink(path) }
        try write([], to: path)
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        do {
            try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw CommandFailure(.failure, "\(path) cannot be written: \(error.localizedDescription)")
        }
    }
}
