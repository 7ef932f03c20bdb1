internal import CNGHTTP2

/// Counts what the other side makes us do for nothing: frames that carry no work, and resets that it
/// provokes. Once it was too much, it stays so, and the connection ends.
struct HTTP2FloodGuard {
    private var frames: TokenBucket
    /// Resets that were counted when their cause came and have not been sent since.
    private var countedResets = 0
    private(set) var isFlooded = false

    init(_ limits: HTTP2Limits, nowNanoseconds: UInt64) {
        frames = TokenBucket(
            burst: limits.controlFrameBurst, perSecond: limits.controlFramesPerSecond,
            nowNanoseconds: nowNanoseconds)
    }

    /// False when there have been too many.
    mutating func frameBegins(_ header: nghttp2_frame_hd, _ now: () -> UInt64) -> Bool {
        let carriesNoWork =
            switch UInt32(header.type) {
            case NGHTTP2_SETTINGS.rawValue, NGHTTP2_PING.rawValue, NGHTTP2_PRIORITY.rawValue: true
            // No side of ours wants any, and each is answered with a reset.
            case NGHTTP2_PUSH_PROMISE.rawValue: true
            case NGHTTP2_DATA.rawValue:
                header.length == 0 && header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) == 0
            case let type: type > NGHTTP2_CONTINUATION.rawValue
            }
        return !carriesNoWork || count(now)
    }

    /// A reset is on its way for a frame that came. It counts now and not when it is sent: until then it is
    /// memory, and who provokes it need not read.
    mutating func resetProvoked(_ now: () -> UInt64) -> Bool {
        countedResets += 1
        return count(now)
    }

    /// Every reset that was not our choice counts once: provoking them is as cheap an attack as sending them.
    mutating func resetSent(_ code: HTTP2ErrorCode, _ now: () -> UInt64) -> Bool {
        if code == .noError || code == .cancel { return true }
        guard countedResets == 0 else {
            countedResets -= 1
            return true
        }
        return count(now)
    }

    /// More at once than there is a use for: frames that wait to be sent, or a head that unpacks to several times
    /// what one may be.
    mutating func isTooMuch() -> Bool {
        isFlooded = true
        return false
    }

    private mutating func count(_ now: () -> UInt64) -> Bool {
        if !frames.take(nowNanoseconds: now()) { isFlooded = true }
        return !isFlooded
    }
}
