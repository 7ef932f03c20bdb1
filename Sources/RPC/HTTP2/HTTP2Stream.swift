internal import NIOCore

/// One request and its answer, as the session sees them.
final class HTTP2Stream {
    enum HeadState {
        case collecting
        case complete
        /// More fields or bytes than allowed; what came is dropped.
        case overLimit
    }

    let id: Int32

    // The other side's head. A server sees method and path, a client the status.
    var method = ""
    var path = ""
    var authority = ""
    var status = 0
    var headers: [(name: String, value: String)] = []
    var headState = HeadState.collecting
    /// The delegate was told of a head over the limits.
    var isHeadTold = false
    var headBytes = 0
    var headFields = 0

    /// The other side has sent END_STREAM.
    var remoteEnded = false
    /// We have sent END_STREAM.
    var localEnded = false

    /// The body still to be sent, as far as it is here.
    var outgoing = ByteBuffer()
    /// Nothing comes after `outgoing`.
    var outgoingIsWhole = true

    /// What goes out behind the body; empty: nothing.
    var trailers: [(name: String, value: String)] = []

    /// Of the bodies' budget, for what is in `outgoing`.
    var share: BodyShare?

    /// What the session's owner keeps with the stream.
    var attachment: AnyObject?

    init(id: Int32) {
        self.id = id
    }

    /// Lets go of what only a request's begin needs.
    func forgetHead() {
        path = ""
        authority = ""
        headers = []
    }
}
