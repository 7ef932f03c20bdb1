import Facts
import Foundation
import SwiftProtobuf
import Testing

@Suite struct ErrorTests {
    /// `BSFG_WRITE_GOLDEN=1 swift test --filter ErrorTests` writes the page again.
    @Test("gateway decision 33: docs/api/errors.md is generated from the table")
    func documentation() throws {
        try Golden.expect(
            text: ErrorReason.documentation, equals: "docs/api/errors.md", replaces: true)
    }

    @Test("gateway decision 33: every reason has a rule and a sentence that says what to do")
    func rules() {
        for reason in ErrorReason.allCases {
            #expect(reason.sentence.hasSuffix("."), "\(reason)")
            #expect(reason.rawValue.utf8.allSatisfy { (0x61...0x7A).contains($0) || $0 == 0x5F })
        }
        #expect(Set(ConnectCode.allCases.map(\.grpcStatus)) == Set(1...16))
        #expect(ErrorReason.unknownMethod.httpStatus == 404)
        #expect(ErrorReason.methodNotAllowed.httpStatus == 405)
        #expect(ErrorReason.unsupportedMediaType.httpStatus == 415)
        #expect(ErrorReason.lengthRequired.httpStatus == 411)
    }

    @Test("gateway decision 42: an error is no copy of what was sent")
    func errorsAreBounded() {
        let text = String(repeating: "\u{1}é", count: 1 << 20)
        var error = ServiceError(.malformedRequest, text, field: text)
        // The dots, and what a character becomes that is cut.
        let limit = ServiceError.messageBytesMaximum + 6
        #expect(error.message.utf8.count <= limit && error.field.utf8.count <= limit)
        #expect(error.message.hasPrefix("\u{1}é\u{1}é") && error.message.hasSuffix("..."))
        error.field = text
        error.message = text
        #expect(error.message.utf8.count <= limit && error.field.utf8.count <= limit)
        // Six bytes of JSON for a control character, in the message and twice over in the detail.
        #expect(error.connectBody.count < 32 * ServiceError.messageBytesMaximum)
        let short = ServiceError(.malformedRequest, "short", field: "a.b")
        #expect(short.message == "short" && short.field == "a.b")
    }

    @Test func `what others say stands on one line and turns no terminal`() {
        #expect(ShownText.line("a\u{1B}]0;owned\u{7}\nserver ok\u{202E}") == "a\u{FFFD}]0;owned\u{FFFD}\u{FFFD}server ok\u{FFFD}")
        #expect(ShownText.line("grüße 100%") == "grüße 100%")
        #expect(ShownText.line(String(repeating: "x", count: 5_000)).utf8.count == ShownText.lineBytesMaximum + 3)
        #expect(ShownText.lines("a\nb\rc", bytes: 100) == "a\nb\u{FFFD}c")
    }

    @Test func `an error reaches a client as Connect has it`() throws {
        var error = ServiceError(.conflictingDuplicate, "Both \"digests\" differ.\n", field: "fact")
        error.storedDigest = SHA256.hash([1])
        error.offeredDigest = SHA256.hash([2])
        error.offset = 0
        error.retryAfterMilliseconds = 1001
        error.fill = 0.25
        var failure = Bsfg_V1_AppendResult()
        failure.outcome = .conflict
        error.failures = Array(repeating: failure, count: 65)
        error.failedCount = 65
        let body = try #require(
            JSONSerialization.jsonObject(with: Data(error.connectBody)) as? [String: Any])
        #expect(body["code"] as? String == "already_exists")
        #expect(body["message"] as? String == "Both \"digests\" differ.\n")
        let details = try #require(body["details"] as? [[String: Any]])
        #expect(details.count == 1 && details[0]["type"] as? String == "bsfg.v1.ErrorDetail")
        let value = try #require(details[0]["value"] as? String)
        #expect(!value.contains("="))
        let detail = try Bsfg_V1_ErrorDetail(
            serializedBytes: try #require(Base64.decode(Array(value.utf8))))
        #expect(detail == error.detail)
        #expect(detail.failures.count == 64 && detail.failedCount == 65)
        let debug = try #require(details[0]["debug"] as? [String: Any])
        #expect(debug["reason"] as? String == "conflicting_duplicate")
        #expect(debug["offset"] as? String == "0")
        #expect(error.retryAfterSeconds == 2)

        let received = ReceivedError(connectBody: error.connectBody, httpStatus: 409)
        #expect(received.code == .alreadyExists && received.reason == .conflictingDuplicate)
        #expect(received.message == error.message && received.detail == detail)
        let again = try #require(ServiceError(detail: detail, message: received.message))
        #expect(again.detail == detail)
    }

    @Test func `answers that are no Connect errors keep their status`() {
        let received = ReceivedError(connectBody: Array("<html>".utf8), httpStatus: 503)
        #expect(received.code == .unavailable && received.reason == nil)
        let strange = ReceivedError(
            connectBody: Array(
                #"{"code":"teapot","message":"m","details":[{"type":"x"}],"y":[1]}"#.utf8),
            httpStatus: 404)
        #expect(strange.code == .unimplemented && strange.message == "m")
    }
}
