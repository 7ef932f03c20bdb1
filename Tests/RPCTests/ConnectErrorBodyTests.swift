import Facts
import SwiftProtobuf
import Testing

@testable import RPC

/// What a server says of a refusal, which may be anything.
@Suite struct ConnectErrorBodyTests {
    private func failure(_ body: String, status: Int = 403) -> RPCFailure {
        ConnectErrorBody.failure(
            RPCResponse(
                status: status, headers: [("content-type", "application/json")],
                body: Array(body.utf8)))
    }

    @Test func anErrorOfOurOwnIsReadAsItIs() {
        var error = ServiceError(.notTheOwner, "first line\nsecond", field: "consumer_name")
        error.offset = 7
        let told = failure(String(decoding: error.connectBody, as: UTF8.self))
        #expect(told.message == "first line\nsecond" && told.code == "permission_denied")
        #expect(told.serviceError?.field == "consumer_name" && told.serviceError?.offset == 7)
    }

    /// A list of nothing is short on the way and long in memory.
    @Test func whatIsLongerThanAnErrorIsNotRead() {
        let start = #"{"code":"not_found","details":["#
        let count = (ConnectErrorBody.bytesMaximum - start.utf8.count - 2) / 3
        func body(_ count: Int) -> String {
            start + Array(repeating: "{}", count: count).joined(separator: ",") + "]}"
        }
        #expect(failure(body(count)).code == "not_found")
        #expect(failure(body(count + 1)).code == "permission_denied", "as its status has it")
    }

    @Test func aSentenceIsBoundedAndTurnsNoTerminal() {
        let told = failure(#"{"code":"permission_denied","message":"\u001b]0;owned\u0007\r"# + #"\u0001"#.repeated(1 << 15) + #""}"#)
        #expect(told.message.utf8.count <= 3 * ServiceError.messageBytesMaximum)
        #expect(told.message.unicodeScalars.allSatisfy { $0.value >= 0x20 })
        let code = failure(#"{"code":""# + "x".repeated(1 << 17) + #""}"#).code
        #expect(code.utf8.count < 100)
    }

    @Test func aDetailIsBounded() {
        var detail = Bsfg_V1_ErrorDetail()
        detail.reason = ErrorReason.notTheOwner.rawValue
        detail.field = "a\u{1B}".repeated(1 << 10)
        func body(_ detail: Bsfg_V1_ErrorDetail) throws -> String {
            let bytes: [UInt8] = try detail.serializedBytes()
            var text: [UInt8] = []
            bytes.withUnsafeBytes { Base64.encode($0, padded: false, into: &text) }
            return #"{"code":"permission_denied","details":[{"type":"bsfg.v1.ErrorDetail","value":""#
                + String(decoding: text, as: UTF8.self) + #""}]}"#
        }
        let told = try? failure(body(detail))
        #expect(told?.reason == "not_the_owner")
        #expect(told?.detail?.field.unicodeScalars.contains("\u{1B}") == false)
        #expect((told?.detail?.field.utf8.count ?? .max) < 3 * ShownText.lineBytesMaximum)
        detail.failures = Array(repeating: Bsfg_V1_AppendResult(), count: 1 << 18)
        #expect((try? failure(body(detail)))?.detail == nil)
    }
}

extension String {
    fileprivate func repeated(_ count: Int) -> String { String(repeating: self, count: count) }
}
