internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import RPC

/// The runbook's first fetch.
struct FetchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Shows what a first fetch from a peer would get; makes no cursor and moves nothing.",
        discussion: """
            Asks with our node's own certificate, so that grant, stream and start are those of the pull \
            that cursors.yaml will name. Needs no running node here. What a node has pulled already is \
            told by 'bsfg status', a consumer's facts by 'bsfg fact fetch'.
            """)

    @Option(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: "The zone whose facts; default the peer.")
    var origin: String?

    @Option(
        help: "Where the fetch would begin: bounded_backfill_24h, bounded_backfill_Nh, start_now or full_backfill.")
    var cursorInit = "bounded_backfill_24h"

    @Option(help: "How many facts at most, up to 10000.")
    var limit: UInt32 = 100

    @Option(
        help: ArgumentHelp(
            "Our node, whose certificate is used. Environment: BSFG_CONFIG.", valueName: "DIR"))
    var config: String?

    @OptionGroup var output: OutputOptions

    func run() async throws {
        guard let directory = config ?? NodeConnection.environment("BSFG_CONFIG") else {
            throw CommandFailure(.usage, "say whose certificate to use: --config DIR (or BSFG_CONFIG)")
        }
        let configuration = try CommandFailure.wrap {
            try NodeConfiguration.load(directory: directory)
        }
        guard let known = configuration.peer(id: peer), let endpoint = known.endpoint else {
            throw CommandFailure(
                .usage,
                configuration.peer(id: peer) == nil
                    ? "the peer '\(peer)' is not in peers.yaml; "
                        + NearestName.hint(for: peer, among: configuration.peers.map(\.id))
                    : "the peer \(peer) has no endpoint in peers.yaml to fetch from; add one")
        }
        let credentials = try CommandFailure.wrap { try NodeCredentials.load(configuration) }
        let preview: PeerPreview
        do throws(NodeError) {
            preview = try PeerPreview(known, endpoint, configuration, credentials)
        } catch {
            throw CommandFailure(.failure, error.sentence)
        }
        var request = Bsfg_Admin_V1_FetchPreviewRequest()
        request.stream = stream ?? ""
        request.origin = origin ?? known.id
        request.cursorPolicy = cursorInit
        request.limit = limit
        let question = request
        let page = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await preview.fetch(question)
        }
        await preview.close()
        switch output.format {
        case .json: StandardOutput.line(String(decoding: page, as: UTF8.self))
        case .table: try printTable(page)
        }
    }

    private func printTable(_ page: [UInt8]) throws {
        guard
            let answer = try? JSONDecoder().decode(FirstPage.self, from: Data(page))
        else {
            throw CommandFailure(.failure, "the answer of \(peer) is no page; is it a bsfg node?")
        }
        var table = Table("OFFSET#", "MESSAGE", "SUBJECT", "PREDICATE")
        for entry in answer.entries ?? [] {
            table.row([
                entry.offset.map { String($0) } ?? "-", entry.message?.envelope.message_id ?? "(notice)",
                entry.message?.fact.subject ?? "-", entry.message?.fact.predicate ?? "-",
            ])
        }
        StandardOutput.line(table.text)
        StandardOutput.line(
            "\(answer.entries?.count ?? 0) of the \(answer.head_offset) that \(peer) has taken; the next is "
                + "offset \(answer.next_offset). No cursor was made and nothing moved.")
    }

    /// What the table shows of a page, by the specification's names.
    private struct FirstPage: Decodable {
        struct Entry: Decodable {
            struct Message: Decodable {
                struct Envelope: Decodable { var message_id: String }
                struct Fact: Decodable {
                    var subject: String
                    var predicate: String
                }
                var envelope: Envelope
                var fact: Fact
            }
            var offset: UInt64?
            var message: Message?
        }
        var entries: [Entry]?
        var next_offset: UInt64
        var head_offset: UInt64
    }
}
