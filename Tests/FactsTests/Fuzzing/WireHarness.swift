import SwiftProtobuf

@testable import Facts

/// Any bytes as what a node receives. Decoding never traps; what is accepted can be stored, sent,
/// shown, and read back as the same.
///
///     1    what the bytes are, modulo the number of kinds
///     ...  the bytes
enum WireHarness {
    private static let kinds: [@Sendable (UnsafeRawBufferPointer) -> Void] = [
        { append($0, .json) }, { append($0, .proto) },
        { appendSeveral($0, .json) }, { appendSeveral($0, .proto) },
        { message($0, .json) }, { message($0, .proto) },
        page, record,
        { request(Bsfg_V1_FetchFactsRequest.self, $0, .json) },
        { request(Bsfg_V1_FetchFactsRequest.self, $0, .proto) },
        { request(Bsfg_V1_ConfirmReceiptRequest.self, $0, .json) },
        { request(Bsfg_V1_ConfirmReceiptRequest.self, $0, .proto) },
        { request(Bsfg_V1_OpenCursorRequest.self, $0, .json) },
        { request(Bsfg_V1_OpenCursorRequest.self, $0, .proto) },
        { response(Bsfg_V1_FetchFactsResponse.self, $0, .json) },
        { response(Bsfg_V1_AppendFactsResponse.self, $0, .json) },
        { response(Bsfg_V1_AppendFactsResponse.self, $0, .proto) },
        { response(Bsfg_V1_ListStreamsResponse.self, $0, .proto) },
        { response(Bsfg_V1_OpenCursorResponse.self, $0, .proto) },
    ]

    static func check(_ bytes: UnsafeRawBufferPointer) {
        guard let first = bytes.first else { return }
        kinds[Int(first) % kinds.count](UnsafeRawBufferPointer(rebasing: bytes.dropFirst()))
    }

    // MARK: Facts

    private static func append(_ bytes: UnsafeRawBufferPointer, _ encoding: WireEncoding) {
        guard let request = try? WireCodec.decodeAppendFact(Array(bytes), encoding) else { return }
        submission(request.fact)
    }

    private static func appendSeveral(_ bytes: UnsafeRawBufferPointer, _ encoding: WireEncoding) {
        guard let request = try? WireCodec.decodeAppendFacts(Array(bytes), encoding) else { return }
        for index in 0..<request.count {
            guard let fact = try? request.fact(at: index) else { harnessFailure("a fact of a batch cannot be read") }
            submission(fact)
        }
    }

    private static func message(_ bytes: UnsafeRawBufferPointer, _ encoding: WireEncoding) {
        guard let fact = try? WireCodec.decodeMessage(Array(bytes), encoding) else { return }
        submission(fact)
    }

    /// What the encoder accepts, a receiver finds intact, with the same key and digest.
    private static func submission(_ fact: FactSubmission) {
        guard let encoded = try? FactEncoder().encode(fact) else { return }
        let page = page(of: encoded.storedRecord, digest: encoded.contentDigest)
        guard let entry = page.entries.first, page.entries.count == 1 else {
            harnessFailure("a page of one fact has \(page.entries.count)")
        }
        guard entry.verdict == .intact, entry.key == encoded.key,
            entry.contentDigest == encoded.contentDigest
        else { harnessFailure("a fact that was encoded is received as \(entry.verdict)") }
        let message = Array(encoded.storedRecord[encoded.messageRange])
        guard entry.itemBytes == message else {
            harnessFailure("a message is changed on its way through a page")
        }
        // Sent again as it is, it is the same fact.
        guard let again = try? WireCodec.decodeMessage(message, .proto),
            let encodedAgain = try? FactEncoder().encode(again),
            encodedAgain.storedRecord == encoded.storedRecord
        else { harnessFailure("a stored message is not accepted as the same fact") }
        show(entry.storedRecord, digest: encoded.contentDigest)
    }

    // MARK: Pages and records

    private static func page(_ bytes: UnsafeRawBufferPointer) {
        guard let page = try? ReceivedPage(Array(bytes)) else { return }
        for entry in page.entries {
            _ = (entry.recordDigest, entry.notice)
            guard entry.verdict == .intact else { continue }
            // What is intact is stored, and has to be readable from the store for ever.
            guard let record = try? StoredRecord(entry.storedRecord), record.item == entry.item,
                record.itemRange == entry.itemRange
            else { harnessFailure("an intact entry is no stored record") }
            show(entry.storedRecord, digest: entry.contentDigest)
        }
        _ = try? EntryPresentation.json(page: Array(bytes))
    }

    /// Any bytes as a record of the log.
    private static func record(_ bytes: UnsafeRawBufferPointer) {
        guard let record = try? StoredRecord(bytes) else { return }
        let item = UnsafeRawBufferPointer(rebasing: bytes[record.itemRange])
        guard record.item == .message else { return show(Array(bytes), digest: nil, judged: false) }
        guard let summary = try? MessageSummary(item) else { return }
        let page = page(of: Array(bytes), digest: summary.contentDigest)
        guard let entry = page.entries.first, page.entries.count == 1 else {
            harnessFailure("a page of one record has \(page.entries.count)")
        }
        switch entry.verdict {
        case .intact:
            guard entry.key == summary.key else { harnessFailure("one message has two keys") }
            show(entry.storedRecord, digest: summary.contentDigest)
        case .malformed, .formatUnsupported: break
        case .checksumMismatch, .digestMismatch:
            harnessFailure("a page contradicts the record it was made of: \(entry.verdict)")
        }
    }

    private static func page(of record: [UInt8], digest: Digest?) -> ReceivedPage {
        guard let page = try? ReceivedPage(pageBytes(record, digest)) else {
            harnessFailure("a page of a stored record is not readable")
        }
        return page
    }

    private static func pageBytes(_ record: [UInt8], _ digest: Digest?) -> [UInt8] {
        var writer = PageWriter(originLogUUID: [UInt8](repeating: 7, count: 16))
        record.withUnsafeBytes { payload in
            do {
                try writer.append(
                    PageWriter.Record(
                        offset: 5, appendedAtUnixMilliseconds: 1, epoch: 1, contentDigest: digest,
                        payload: payload))
            } catch {
                harnessFailure("a stored record has no place in a page: \(error)")
            }
        }
        return writer.finish(
            nextOffset: 6, headOffset: 6, firstOffset: 0, confirmedOffset: nil, source: nil)
    }

    /// An intact record can be shown, as JSON that everyone can read.
    private static func show(_ record: [UInt8], digest: Digest?, judged: Bool = true) {
        let json: [UInt8]
        do {
            json = try WireCodec.encode(
                protobuf: pageBytes(record, digest), messageName: "bsfg.v1.FetchFactsResponse",
                .json)
        } catch {
            if judged { harnessFailure("an intact record cannot be shown: \(error.sentence)") }
            return
        }
        do {
            _ = try CanonicalJSON.canonicalise(json)
        } catch where error.kind == .tooDeep {
            // An object of the greatest depth stands within a page.
        } catch {
            harnessFailure("a page's JSON is not valid: \(error)")
        }
    }

    // MARK: Other messages

    /// A request means the same in both encodings.
    private static func request<Request: SwiftProtobuf.Message & Equatable>(
        _ type: Request.Type, _ bytes: UnsafeRawBufferPointer, _ encoding: WireEncoding
    ) {
        guard let request = try? WireCodec.decodeRequest(type, Array(bytes), encoding) else {
            return
        }
        for encoding in [WireEncoding.json, .proto] {
            let sent = WireCodec.encode(request, encoding)
            guard let received = try? WireCodec.decodeRequest(type, sent, encoding),
                received == request
            else { harnessFailure("a request is not read as it is written (\(encoding))") }
        }
    }

    private static func response<Response: SwiftProtobuf.Message & Equatable>(
        _ type: Response.Type, _ bytes: UnsafeRawBufferPointer, _ encoding: WireEncoding
    ) {
        guard let response = try? WireCodec.decodeResponse(type, Array(bytes), encoding) else {
            return
        }
        let sent = WireCodec.encode(response, .proto)
        // A double that is no number is not equal to itself, so that the bytes say it too.
        guard let received = try? WireCodec.decodeResponse(type, sent, .proto),
            received == response || WireCodec.encode(received, .proto) == sent
        else { harnessFailure("an answer is not read as it is written") }
    }
}
