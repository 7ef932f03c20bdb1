internal import Facts
internal import RPC

/// A page of facts for people.
struct FactPage {
    let entries: [Bsfg_V1_Entry]
    let nextOffset: UInt64
    let headOffset: UInt64
    let firstOffset: UInt64

    /// Wider objects are cut in tables; JSON has them whole.
    private static let objectWidth = 96

    /// - Parameter bytes: a `FetchFactsResponse`.
    init(_ bytes: [UInt8]) throws(CommandFailure) {
        do throws(ServiceError) {
            let page = try WireCodec.decodeResponse(
                Bsfg_V1_FetchFactsResponse.self, bytes, .proto)
            entries = page.entries
            nextOffset = page.nextOffset
            headOffset = page.headOffset
            firstOffset = page.firstOffset
        } catch {
            throw CommandFailure(.failure, error.message)
        }
    }

    /// Of what the page stands for: a gap at its end has a last offset as facts have theirs.
    var lastOffset: UInt64? {
        guard let last = entries.last else { return nil }
        if !last.hasOffset, case .gap(let notice) = last.item { return notice.lastOffset }
        return last.offset
    }

    static func printJSON(_ bytes: [UInt8]) throws(CommandFailure) {
        do throws(MalformedRecord) {
            let text = try EntryPresentation.json(page: bytes)
            StandardOutput.line(String(decoding: text, as: UTF8.self))
        } catch {
            throw CommandFailure(.failure, error.sentence)
        }
    }

    static func printLines(_ bytes: [UInt8]) throws(CommandFailure) {
        do throws(MalformedRecord) {
            for line in try EntryPresentation.lines(page: bytes) {
                StandardOutput.line(String(decoding: line, as: UTF8.self))
            }
        } catch {
            throw CommandFailure(.failure, error.sentence)
        }
    }

    var table: String {
        var table = Table("OFFSET#", "APPENDED", "SUBJECT", "PREDICATE", "OBJECT")
        for entry in entries { table.row(Self.cells(entry)) }
        return table.text
    }

    private static func cells(_ entry: Bsfg_V1_Entry) -> [String] {
        // A gap of the log itself is no record: it has no offset of its own and no time.
        if !entry.hasOffset, case .gap(let notice) = entry.item {
            return [String(notice.first.offset), "-", "-", "(gap)", cut(text(notice))]
        }
        let place = [String(entry.offset), UTCText.text(entry.appendedAtUnixMs / 1_000)]
        switch entry.item {
        case .message(let message):
            return place + [
                message.fact.subject, message.fact.predicate, cut(object(message)),
            ]
        case .gap(let notice): return place + ["-", "(gap)", cut(text(notice))]
        case .refused(let notice): return place + ["-", "(refused)", cut(text(notice))]
        case .quarantined(let notice): return place + ["-", "(quarantined)", cut(text(notice))]
        case nil: return place + ["-", "(unknown to this release)", ""]
        }
    }

    private static func object(_ message: Bsfg_V1_Message) -> String {
        switch message.fact.body {
        case .objectJson(let text): text
        case .objectBytes(let bytes):
            "\(bytes.count) bytes of \(message.envelope.objectMediaType)"
        case .object, nil: ""
        }
    }

    private static func text(_ notice: Bsfg_V1_Notice) -> String {
        "offsets \(notice.first.offset) to \(notice.lastOffset): "
            + notice.reasons.joined(separator: ", ")
    }

    private static func cut(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard scalars.count > objectWidth else { return text }
        return String(String.UnicodeScalarView(scalars.prefix(objectWidth - 3))) + "..."
    }

    /// A line for each entry without a header, for output that goes on.
    var lines: [String] {
        entries.map { Table.printable(Self.cells($0).joined(separator: "  ")) }
    }
}
