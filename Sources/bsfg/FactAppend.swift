internal import ArgumentParser
internal import Facts
internal import Foundation
internal import Gateway
internal import RPC

struct FactAppend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "append",
        abstract: "Appends one fact, from options or as JSON on standard input.",
        discussion: """
            Without --subject a message is read from standard input, as in {"envelope": \
            {"message_id": "m-1", "to_zone": "enterprise"}, "fact": {"subject": "pump:7", \
            "predicate": "started", "object": {"rpm": 1450}}}; options fill in what it leaves out. \
            Without an id a random one is made and printed: repeat a call whose outcome is unknown \
            with --id and the same content.
            """)

    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: ArgumentHelp("What the fact is about.", valueName: "kind:id"))
    var subject: String?

    @Option(help: "What is said of it, in lower_snake_case.")
    var predicate: String?

    @Option(help: ArgumentHelp("The statement as JSON.", valueName: "JSON"))
    var object: String?

    @Option(help: ArgumentHelp("The statement as bytes, with --media-type.", valueName: "FILE"))
    var objectFile: String?

    @Option(help: "What the bytes are, as in image/png.")
    var mediaType: String?

    @Option(help: "The name of the object's schema.")
    var schema: String?

    @Option(help: "The zone it is for.")
    var to: String?

    @Option(help: "The zone it comes from; default the node's.")
    var from: String?

    @Option(help: "The message id: the same id is the same fact.")
    var id: String?

    @Option(help: "When it was produced, as in 2025-01-15T10:00:00Z; default now.")
    var producedAt: String?

    @Option(help: "The id of what it belongs to.")
    var correlationID: String?

    @Option(help: "The id of what caused it.")
    var causationID: String?

    @Option(help: ArgumentHelp("A label; repeat it for more.", valueName: "name=value"))
    var label: [String] = []

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    private static let inputBytesMaximum = FactLimits.requestBytes

    func validate() throws {
        guard object == nil || objectFile == nil else {
            throw ValidationError("--object and --object-file exclude each other.")
        }
        if subject == nil, predicate != nil || object != nil || objectFile != nil {
            throw ValidationError(
                "--predicate, --object and --object-file go with --subject; without it the message "
                    + "is read from standard input.")
        }
        if subject != nil, predicate == nil || object == nil && objectFile == nil {
            throw ValidationError("--subject needs --predicate, and --object or --object-file.")
        }
    }

    func run() async throws {
        // Named before anything is read, so that a wrong call does not wait for input.
        let connection = try node.client(.any)
        var fact = try subject == nil ? input() : flags()
        try complete(&fact)
        if fact.fromZone.isEmpty {
            fact.fromZone = try await CommandFailure.calling {
                () async throws(RPCClientError) in try await NodeHealth.ask(connection).zone
            }
        }
        let encoded: EncodedFact
        do throws(FactError) {
            encoded = try FactEncoder(
                limits: FactLimits(objectBytes: FactLimits.objectBytesCeiling)
            ).encode(fact)
        } catch {
            throw CommandFailure(.usage, Self.sentence(error, isTyped: subject != nil))
        }
        try await append(encoded, id: fact.messageID, connection)
    }

    private func append(_ fact: EncodedFact, id: String, _ connection: RPCClient) async throws {
        let request = AppendRequestWriter.appendFact(stream: stream ?? "", fact)
        let answer: Bsfg_V1_AppendFactResponse
        do throws(RPCClientError) {
            answer = try await BoundaryClient(connection).appendFact(request)
        } catch {
            let failure = CommandFailure(error)
            guard failure.status == .unavailable else { throw failure }
            throw CommandFailure(
                .unavailable, "\(failure.message) (append it again with --id \(id))")
        }
        let outcome = answer.outcome == .existing ? "existing" : "appended"
        let digest = Hexadecimal.encode(Array(answer.contentDigest))
        switch output.format {
        case .table:
            var table = Table("OFFSET#", "OUTCOME", "EPOCH#", "ID", "CONTENT SHA-256")
            table.row([String(answer.offset), outcome, String(answer.epoch), id, digest])
            StandardOutput.line(table.text)
        case .json:
            StandardOutput.json(
                .object([
                    ("offset", .unsigned(answer.offset)),
                    ("outcome", .text(outcome)),
                    ("epoch", .unsigned(answer.epoch)),
                    ("message_id", .text(id)),
                    ("content_digest", .text(digest)),
                    ("fill", .number(answer.fill)),
                ]))
        }
    }

    // MARK: - What is wrong with it

    private static let optionsOfFields: [(field: String, option: String)] = [
        ("envelope.to_zone", "--to"), ("envelope.from_zone", "--from"), ("envelope.message_id", "--id"),
        ("envelope.produced_at_unix_ms", "--produced-at"), ("envelope.correlation_id", "--correlation-id"),
        ("envelope.causation_id", "--causation-id"), ("envelope.labels", "--label"),
        ("envelope.object_media_type", "--media-type"), ("envelope.object_schema", "--schema"),
        ("fact.subject", "--subject"), ("fact.predicate", "--predicate"), ("fact.object_json", "--object"),
        ("fact.object_bytes", "--object-file"),
    ]

    /// In the words of whoever asked: options where the fact was typed, fields where it was read as JSON, and
    /// both where an option can give what a message leaves out.
    private static func sentence(_ error: FactError, isTyped: Bool) -> String {
        guard
            let (field, option) = optionsOfFields.first(where: { known in
                guard error.field.utf8.starts(with: known.field.utf8) else { return false }
                // The field itself or a place within it.
                let next = error.field.utf8.dropFirst(known.field.utf8.count).first
                return next.map { ".[".utf8.contains($0) } ?? true
            }), isTyped || error.reason == .missingField
        else { return "\(error.field): \(error.sentence)" }
        if error.reason == .missingField {
            return isTyped
                ? "\(option) is missing; give it" : "the message has no \(field); give it there or with \(option)"
        }
        if error.field.utf8.starts(with: "fact.object_json".utf8), error.reason == .invalidObject {
            return "--object is not JSON: \(error.sentence)"
        }
        return "\(option): \(error.sentence.replacing(field, with: option))"
    }

    // MARK: - The fact

    private func input() throws -> FactSubmission {
        let bytes = try FileHandle.standardInput.read(upToCount: Self.inputBytesMaximum + 1)
        guard let bytes, !bytes.isEmpty else {
            throw CommandFailure(
                .usage, "standard input is empty; give the message as JSON, or --subject and so on")
        }
        guard bytes.count <= Self.inputBytesMaximum else {
            throw CommandFailure(
                .usage, "the message has more than \(Self.inputBytesMaximum) bytes")
        }
        do throws(ServiceError) {
            return try WireCodec.decodeMessage(Array(bytes), .json)
        } catch {
            throw CommandFailure(
                .usage, error.field.isEmpty ? error.message : "\(error.field): \(error.message)")
        }
    }

    private func flags() throws -> FactSubmission {
        var fact = FactSubmission()
        fact.subject = subject ?? ""
        fact.predicate = predicate ?? ""
        if let object { fact.body = .objectJSON(Array(object.utf8)) }
        if let objectFile {
            do throws(CertificateError) {
                fact.body = .objectBytes(
                    try SmallFile.read(objectFile, bytesMaximum: FactLimits.objectBytesCeiling))
            } catch {
                throw CommandFailure(.usage, error.sentence)
            }
        }
        return fact
    }

    /// Options win over the message, and defaults fill in what neither has.
    private func complete(_ fact: inout FactSubmission) throws {
        fact.hasEnvelope = true
        if let id { fact.messageID = id }
        if fact.messageID.isEmpty { fact.messageID = UUID().uuidString.lowercased() }
        if let from { fact.fromZone = from }
        if let to { fact.toZone = to }
        if let mediaType { fact.objectMediaType = mediaType }
        if let schema { fact.objectSchema = schema }
        if let correlationID { fact.correlationID = correlationID }
        if let causationID { fact.causationID = causationID }
        for label in label {
            guard let equals = label.firstIndex(of: "=") else {
                throw CommandFailure(.usage, "--label is name=value, not '\(label)'")
            }
            fact.labels.append(
                FactSubmission.Label(
                    name: String(label[..<equals]),
                    value: String(label[label.index(after: equals)...])))
        }
        if let producedAt {
            guard let milliseconds = Timestamp.unixMilliseconds(producedAt) else {
                throw CommandFailure(
                    .usage, "--produced-at is an instant such as 2025-01-15T10:00:00Z, not "
                        + "'\(producedAt)'")
            }
            fact.producedAtUnixMilliseconds = milliseconds
        }
        if fact.producedAtUnixMilliseconds == 0 {
            fact.producedAtUnixMilliseconds = Int64(Date().timeIntervalSince1970 * 1_000)
        }
    }
}
