/// Counts what may happen often but not for ever: `burst` at once, `perSecond` after that.
struct TokenBucket {
    private let burst: Int
    private let perSecond: Int
    private var tokens: Int
    private var filledAtNanoseconds: UInt64

    init(burst: Int, perSecond: Int, nowNanoseconds: UInt64) {
        precondition(burst > 0 && perSecond >= 0)
        self.burst = burst
        self.perSecond = perSecond
        self.tokens = burst
        self.filledAtNanoseconds = nowNanoseconds
    }

    /// False when there is none left.
    mutating func take(nowNanoseconds: UInt64) -> Bool {
        if tokens < burst, perSecond > 0, nowNanoseconds > filledAtNanoseconds {
            let nanosecondsPerToken = 1_000_000_000 / UInt64(perSecond)
            let earned = (nowNanoseconds - filledAtNanoseconds) / nanosecondsPerToken
            if earned > 0 {
                tokens = min(burst, tokens + Int(min(earned, UInt64(burst))))
                filledAtNanoseconds += earned * nanosecondsPerToken
            }
        } else if tokens == burst {
            filledAtNanoseconds = nowNanoseconds
        }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
