/// Offsets that a reader asks for and a buffer no longer has.
package struct BufferGap: Sendable, Equatable {
    /// Never empty.
    package var offsets: Range<UInt64>
    /// Why, in words of the contract (`Notice.reasons`): *dropped*, *expired*, *corrupt*, *detached*;
    /// and *reclaimed* for what went after everybody whom truncation waits for had confirmed it.
    package var reasons: [String]

    package static let reclaimed = "reclaimed"
    package static let detached = "detached"

    package init(offsets: Range<UInt64>, reasons: [String]) {
        precondition(!offsets.isEmpty, "a gap has offsets")
        self.offsets = offsets
        self.reasons = reasons
    }

    /// What the gap is to a reader that had not confirmed it: nothing unconfirmed of an attached reader
    /// is reclaimed, so what went so went while truncation did not wait for this one.
    package var toAwaitedReader: BufferGap {
        var gap = self
        gap.reasons = reasons.filter { $0 != BufferGap.reclaimed }
        if gap.reasons.count < reasons.count, !gap.reasons.contains(BufferGap.detached) {
            gap.reasons.append(BufferGap.detached)
        }
        return gap
    }
}
