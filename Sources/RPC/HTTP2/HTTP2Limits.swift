/// What one HTTP/2 connection may cost us; the values here are the defaults of a server, and of a client where
/// it receives. A server takes streams, windows, the head's limits and the time of a stall from its
/// configuration; the others are against floods only, and no setting (decision 0067).
package struct HTTP2Limits: Sendable {
    /// Streams the other side may have open at once.
    package var concurrentStreams: UInt32 = 128
    /// Bytes of body under way, per connection and per stream.
    package var connectionWindowBytes: Int32 = 1 << 20
    package var streamWindowBytes: UInt32 = 256 << 10
    /// A head: all names and values with 32 bytes for each field, as HTTP/2 counts it.
    package var headBytes: Int = 32 << 10
    /// One field's name and value.
    package var fieldBytes: Int = 16 << 10
    package var headFields: Int = 64
    /// RST_STREAM frames taken at once, and per second after that.
    package var resetBurst: UInt64 = 512
    package var resetsPerSecond: UInt64 = 33
    /// Entries of one SETTINGS frame.
    package var settingsEntries: Int = 32
    /// SETTINGS and PING acknowledgements waiting to be sent.
    package var outboundAcknowledgements: Int = 256
    /// CONTINUATION frames of one head.
    package var continuations: Int = 8
    /// Frames that carry no work (SETTINGS, PING, PRIORITY, empty DATA, and those that make us
    /// reset or refuse a stream), taken at once, and per second after that.
    package var controlFrameBurst: Int = 1000
    package var controlFramesPerSecond: Int = 100
    /// Frames that wait to be sent, bodies apart: a head, trailers, a window and a reset for each stream, and the
    /// acknowledgements. Above that a server ends the connection.
    package var queuedFrames: Int { 4 * Int(concurrentStreams) + outboundAcknowledgements }
    /// After an answer before the request's end: what is still taken and thrown away until the
    /// stream is reset. curl 7.88 loses an answer that is followed by the reset at once.
    package var discardedBytes: Int = 1 << 20
    package var discardMilliseconds: Int64 = 2_000
    /// While answers wait to be taken, at least so many bytes of them are, in each such time: who takes none
    /// holds memory that others need.
    package var stallMilliseconds: Int = 30_000
    package var stallBytes: UInt64 = 30 << 10
    /// Bytes handed to the connection in one write.
    package var writeBytes: Int = 256 << 10

    package init() {}
}
