/// A durable named reader of a log: how far it has confirmed, and whom it belongs to.
public struct Cursor: Hashable, Sendable {
    /// The identity that may move it; compared byte for byte.
    public var owner: String
    /// Unique for its owner in this log.
    public var name: String
    /// The frontier: every offset below it is confirmed, 0 when none is.
    public var nextOffset: UInt64
    /// The log's epoch in which `nextOffset` holds.
    public var epoch: UInt64
    /// A digest of the last record before the frontier, as its owner computes it, and that
    /// record's offset; both survive the record's truncation.
    public var digest: Digest256?
    /// The offset of the record that `digest` is of.
    public var digestOffset: UInt64?
    /// The log that the records go to, when the reader is another log.
    public var receiver: LogIdentifier?
    /// The receiver's epoch, 0 when there is no receiver.
    public var receiverEpoch: UInt64
    /// Whether truncation waits for it, however long. One that is not required holds truncation
    /// within its lag limits and is detached beyond them; without limits it never holds it.
    public var required: Bool
    /// How far a cursor that is not required may fall behind the head before it is detached, in bytes
    /// of the log and in the age of its oldest unconfirmed record; nil: no limit of that kind.
    public var maximumLagBytes: UInt64?
    /// The same in the age of the oldest unconfirmed record.
    public var maximumLagMilliseconds: Int64?
    /// Why it was detached; nil while it is attached. A detached cursor holds nothing and is not
    /// moved until it is attached again.
    public var detachReason: String?
    /// How its start was chosen, in the owner's words, and when (milliseconds since 1970).
    public var initialisation: String
    /// When it was made, in milliseconds since 1970, by its owner's clock.
    public var createdMilliseconds: Int64

    /// A cursor to be made; `Log.createCursor` checks it.
    public init(
        owner: String, name: String, nextOffset: UInt64 = 0, epoch: UInt64 = 1,
        digest: Digest256? = nil, digestOffset: UInt64? = nil, receiver: LogIdentifier? = nil,
        receiverEpoch: UInt64 = 0, required: Bool = true, maximumLagBytes: UInt64? = nil,
        maximumLagMilliseconds: Int64? = nil, initialisation: String = "",
        createdMilliseconds: Int64 = 0
    ) {
        self.owner = owner
        self.name = name
        self.nextOffset = nextOffset
        self.epoch = epoch
        self.digest = digest
        self.digestOffset = digestOffset
        self.receiver = receiver
        self.receiverEpoch = receiverEpoch
        self.required = required
        self.maximumLagBytes = maximumLagBytes
        self.maximumLagMilliseconds = maximumLagMilliseconds
        self.initialisation = initialisation
        self.createdMilliseconds = createdMilliseconds
    }

    /// Whether truncation does not wait for it and it cannot be moved.
    public var isDetached: Bool { detachReason != nil }

    var hasLagLimit: Bool { maximumLagBytes != nil || maximumLagMilliseconds != nil }

    var identity: CursorIdentity { CursorIdentity(owner: owner, name: name) }
}

extension Cursor: RetentionCursor {}

/// Owner and name as bytes: Swift's `String ==` would take two spellings of a letter for one.
struct CursorIdentity: Hashable, Sendable {
    var owner: [UInt8]
    var name: [UInt8]

    init(owner: String, name: String) {
        self.owner = Array(owner.utf8)
        self.name = Array(name.utf8)
    }
}

/// A time in a log's life that began with offsets of its own: a new one follows a restore.
public struct EpochEntry: Hashable, Sendable {
    /// Counts from 1.
    public var epoch: UInt64
    /// The first offset that this epoch gave or will give.
    public var firstOffset: UInt64
    /// By the log's wall clock, in milliseconds since 1970.
    public var beganMilliseconds: Int64
    /// Why it began, in the words of whoever began it.
    public var reason: String
}

/// Replaces a small named value together with the records of a commit.
public struct RegisterUpdate: Hashable, Sendable {
    /// At most 64 bytes of UTF-8.
    public var name: String
    /// The value that must stand now, nil for none; otherwise the commit is rejected.
    public var expected: [UInt8]?
    /// At most 512 bytes.
    public var value: [UInt8]

    /// A change of one register. What is too long is refused by the append that it rides with.
    public init(name: String, expected: [UInt8]?, value: [UInt8]) {
        self.name = name
        self.expected = expected
        self.value = value
    }
}
