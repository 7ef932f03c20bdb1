package import Facts

/// How far one named reader has confirmed one buffer, durably.
package struct TrackedCursor: Sendable, Equatable {
    package var owner: String
    package var name: String
    /// Everything below is confirmed.
    package var nextOffset: UInt64
    package var epoch: UInt64
    /// Of the last record before `nextOffset`, as a peer stated it, and that record's offset.
    package var digest: Digest?
    package var digestOffset: UInt64?
    /// The receiver's log, when the reader is a peer.
    package var receiverUUID: [UInt8]?
    package var receiverEpoch: UInt64
    package var initMode: String
    package var createdMilliseconds: Int64
    /// How truncation treats it.
    package var hold: CursorHold
    /// Why it was detached; nil while it is attached.
    package var detachReason: String?

    package init(
        owner: String, name: String, nextOffset: UInt64, epoch: UInt64 = 1,
        digest: Digest? = nil, digestOffset: UInt64? = nil, receiverUUID: [UInt8]? = nil,
        receiverEpoch: UInt64 = 0, initMode: String = "", createdMilliseconds: Int64 = 0,
        hold: CursorHold = .required, detachReason: String? = nil
    ) {
        self.owner = owner
        self.name = name
        self.nextOffset = nextOffset
        self.epoch = epoch
        self.digest = digest
        self.digestOffset = digestOffset
        self.receiverUUID = receiverUUID
        self.receiverEpoch = receiverEpoch
        self.initMode = initMode
        self.createdMilliseconds = createdMilliseconds
        self.hold = hold
        self.detachReason = detachReason
    }
}

/// Whether truncation waits for a reader.
package enum CursorHold: Sendable, Equatable {
    /// However long it takes.
    case required
    /// Up to a lag behind the head, in bytes of the log or in the age of the oldest unconfirmed record;
    /// beyond it the cursor is detached.
    case upTo(lagBytes: UInt64?, lagMilliseconds: Int64?)
}

extension CursorTracker {
    package func create(_ cursor: TrackedCursor) throws(BufferError) {
        try create(cursor, notBelowFirst: false)
    }
}

/// The durable frontiers of a buffer's readers.
package protocol CursorTracker: AnyObject, Sendable {
    /// Blocks until the cursor is durable.
    /// - Parameter notBelowFirst: it has to begin at a record that is there, and that truncation leaves
    ///   from then on.
    /// - Throws: `cursorExists`, `outOfRange` beyond the head, and below the first record where that is
    ///   asked for.
    func create(_ cursor: TrackedCursor, notBelowFirst: Bool) throws(BufferError)

    func cursor(owner: String, name: String) -> TrackedCursor?
    func cursors() -> [TrackedCursor]

    /// Confirms a range of offsets. The frontier advances over a contiguous prefix only: a range
    /// beyond it is remembered, in bounded memory and not durably, until the hole is filled. Never
    /// goes back. Durable when it returns. Blocks.
    /// - Throws: `cursorNotFound`, `cursorDetached`, `outOfRange` beyond the head.
    func confirm(
        owner: String, name: String, _ range: ClosedRange<UInt64>,
        digest: (value: Digest, offset: UInt64)?
    ) throws(BufferError) -> TrackedCursor

    func delete(owner: String, name: String) throws(BufferError)

    /// Lets truncation go on without the reader, durably; it confirms nothing until it is attached.
    /// Blocks.
    /// - Throws: `cursorNotFound`.
    func detach(owner: String, name: String, reason: String) throws(BufferError)

    /// Lets truncation wait for a detached reader again, from `nextOffset` on, durably. One that is
    /// attached stays where it is. Blocks.
    /// - Throws: `cursorNotFound`, `outOfRange` beyond the head.
    func attach(owner: String, name: String, nextOffset: UInt64) throws(BufferError)

    /// Puts a cursor in the place of the one with its owner and name, which may go back, durably: an
    /// operator accepted another history. Blocks.
    /// - Throws: `cursorNotFound`, `outOfRange` beyond the head, `positionMoved` when it is not of the
    ///   buffer's epoch.
    func replace(_ cursor: TrackedCursor) throws(BufferError)

    /// Changes how truncation treats a reader, durably. Blocks.
    /// - Throws: `cursorNotFound`; `invalid` for what the profile does not allow.
    func change(owner: String, name: String, hold: CursorHold) throws(BufferError)
}

/// A frontier and the confirmed ranges beyond it.
package struct ContiguousFrontier: Sendable, Equatable {
    /// Ranges that are remembered; the farthest is forgotten first, since its facts are only
    /// confirmed again.
    package static let rangesMaximum = 1_024

    /// Everything below is confirmed.
    package private(set) var nextOffset: UInt64
    /// Disjoint, in order, none touching the frontier or another.
    package private(set) var ranges: [ClosedRange<UInt64>] = []

    package init(nextOffset: UInt64) { self.nextOffset = nextOffset }

    /// - Precondition: the range ends below the greatest offset.
    package mutating func confirm(_ range: ClosedRange<UInt64>) {
        precondition(range.upperBound < .max, "the last offset cannot be confirmed")
        guard range.upperBound >= nextOffset else { return }
        var merged = max(range.lowerBound, nextOffset)...range.upperBound
        ranges.removeAll { other in
            guard other.lowerBound <= merged.upperBound + 1,
                merged.lowerBound <= other.upperBound + 1
            else { return false }
            merged =
                min(other.lowerBound, merged.lowerBound)...max(other.upperBound, merged.upperBound)
            return true
        }
        if merged.lowerBound == nextOffset {
            nextOffset = merged.upperBound + 1
            return
        }
        let place = ranges.firstIndex { $0.lowerBound > merged.upperBound } ?? ranges.endIndex
        ranges.insert(merged, at: place)
        if ranges.count > ContiguousFrontier.rangesMaximum { ranges.removeLast() }
    }
}
