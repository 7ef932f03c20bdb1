internal import SwiftProtobuf

/// An error as a client received it, from this release or another.
package struct ReceivedError: Error, Sendable {
    package var code: ConnectCode
    package var message: String
    /// As sent; empty when the answer had no detail of ours.
    package var reasonName: String
    package var detail: Bsfg_V1_ErrorDetail?

    /// Nil when there was none, or one that this release does not know.
    package var reason: ErrorReason? { ErrorReason(rawValue: reasonName) }

    /// What the server says; without a detail, whether the code invites another try.
    package var retryable: Bool { detail?.retryable ?? (code == .unavailable) }

    /// Reads the body of an answer whose status is not 200. What is no Connect error is judged by
    /// its status, as the protocol has it.
    package init(connectBody body: [UInt8], httpStatus: Int) {
        code = ConnectCode.inferred(fromHTTPStatus: httpStatus)
        message = "The server answered with status \(httpStatus) and no error of its own."
        reasonName = ""
        guard let value = try? JSONTree.parse(body), case .object(let members) = value else {
            return
        }
        if case .string(let text)? = members["code"], let known = ConnectCode(rawValue: text) {
            code = known
        }
        if case .string(let text)? = members["message"] { message = text }
        guard case .array(let details)? = members["details"] else { return }
        for case .object(let item) in details {
            guard case .string("bsfg.v1.ErrorDetail")? = item["type"],
                case .string(let text)? = item["value"],
                let bytes = Base64.decode(Array(text.utf8)),
                let detail = try? Bsfg_V1_ErrorDetail(serializedBytes: bytes)
            else { continue }
            self.detail = detail
            reasonName = detail.reason
        }
    }
}
