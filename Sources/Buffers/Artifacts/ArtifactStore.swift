package import Facts

/// Large binaries of this zone and copies of those of others, by name. A name is given once: to the
/// same bytes again it gives the same answer, to others none. What facts refer to is kept.
///
/// All methods may be called from any thread. Those that say so block on the disk.
package protocol ArtifactStore: AnyObject, Sendable {
    // MARK: Names

    /// Every name of these bytes.
    func names(of digest: Digest) -> [StoredArtifact]
    /// What is known of a name, stored or not.
    func entry(_ name: ArtifactName) -> ArtifactEntry?
    /// Up to `count` names after one, in order; with `isPending` those whose bytes are not here.
    func list(after name: ArtifactName?, count: Int, isPending: Bool) -> [ArtifactEntry]
    /// All names whose bytes are not here, in no order; O(their number).
    func pendingNames() -> [ArtifactName]
    var usage: ArtifactUsage { get }

    // MARK: Bytes

    /// Begins to take bytes. Blocks.
    /// - Parameter expectedBytes: room for so many is held until the upload ends.
    /// - Throws: `full` when the store has no room for them.
    func beginUpload(expectedBytes: UInt64) throws(ArtifactError) -> any ArtifactUpload

    /// Blocks.
    /// - Throws: `notFound`.
    func open(_ digest: Digest) throws(ArtifactError) -> any ArtifactReader

    // MARK: What facts refer to

    /// Keeps a name from being swept while it lives; nil when the name is not stored.
    func pin(_ name: ArtifactName) -> ArtifactPin?

    /// Records what the facts of a log refer to, up to an offset, durably. Blocks.
    /// - Parameter isReceived: the facts are another zone's: what they refer to is to be fetched.
    /// - Returns: how many names were left out for want of room: those that facts of this zone refer to, and
    ///   nobody has put.
    /// - Throws: `full` when there is no room for names that are to be fetched; nothing is recorded then.
    @discardableResult
    func record(
        _ uses: [ArtifactUse], log: [UInt8], upTo offset: UInt64, isReceived: Bool
    ) throws(ArtifactError) -> Int

    /// The offset up to which the references of a log are recorded; 0 at first.
    func followedOffset(log: [UInt8]) -> UInt64

    /// From now on whatever is pinned is spared by the sweep that gets this number: its fact may come
    /// after the logs were looked at.
    func beginSweep() -> UInt64

    /// Removes what nothing refers to any more. Blocks.
    func sweep(_ rules: ArtifactSweepRules) throws(ArtifactError) -> ArtifactSweepReport

    /// The time by which artifacts age, milliseconds since 1970; nil while the machine's clock is not to
    /// be trusted, and then nothing is to be swept. Blocks.
    func trustedMilliseconds() throws(ArtifactError) -> Int64?

    func close()
}

/// Bytes on their way into the store, durable under a name once `finish` returns. An upload that is let
/// go of leaves nothing. Not for several threads at once.
package protocol ArtifactUpload: AnyObject, Sendable {
    /// Blocks.
    func write(_ bytes: [UInt8]) throws(ArtifactError)

    /// Gives the bytes their name, durably. Blocks.
    /// - Parameter expected: what their digest has to be.
    /// - Throws: `exists`, `digestMismatch`, `outcomeUnknown`.
    func finish(
        as name: ArtifactName, expected: Digest?, mediaType: String, fileName: String
    ) throws(ArtifactError) -> StoredArtifact

    /// Removes what was written. Blocks.
    func abandon()
}

/// The bytes of an artifact; they stay readable for as long as the reader lives.
package protocol ArtifactReader: AnyObject, Sendable {
    /// Bytes.
    var size: UInt64 { get }

    /// Up to `count` bytes; fewer at the end only. Blocks.
    func read(at position: UInt64, count: Int) throws(ArtifactError) -> [UInt8]
}

/// A name that is in use until this is let go of.
package final class ArtifactPin: Sendable {
    private let release: @Sendable () -> Void
    init(release: @escaping @Sendable () -> Void) { self.release = release }
    deinit { release() }
}

/// What the store knows of a name.
package struct ArtifactEntry: Sendable, Equatable {
    package var name: ArtifactName
    /// Nil while the bytes are not here.
    package var stored: StoredArtifact?
    /// What a received fact says of it; nil where none refers to it.
    package var expected: ArtifactContent?
    /// The highest offset that refers to it, by the log's UUID.
    package var uses: [(log: [UInt8], offset: UInt64)] = []

    package init(name: ArtifactName) { self.name = name }

    /// Bytes that a received fact refers to and that are not here yet.
    package var isPending: Bool { stored == nil && expected != nil }

    package static func == (left: ArtifactEntry, right: ArtifactEntry) -> Bool {
        left.name == right.name && left.stored == right.stored && left.expected == right.expected
            && left.uses.elementsEqual(right.uses) { $0.log == $1.log && $0.offset == $1.offset }
    }
}

package struct ArtifactUsage: Sendable, Equatable {
    package var names = 0
    package var pending = 0
    package var blobs = 0
    /// Of blobs, each counted once whatever its names.
    package var bytes: UInt64 = 0
    package var capacityBytes: UInt64 = 0
    /// Held for uploads under way.
    package var reservedBytes: UInt64 = 0

    package init() {}

    /// Whether there is room for so many bytes more.
    package func hasRoom(for more: UInt64) -> Bool {
        let (needed, overflow) = (bytes + reservedBytes).addingReportingOverflow(more)
        return !overflow && needed <= capacityBytes
    }
}

/// What may be removed.
package struct ArtifactSweepRules: Sendable {
    /// The first offset of each log that is open, by its UUID: a use below it is of a fact that is gone.
    /// A use in a log that is not here keeps its artifact.
    package var firstOffsets: [[UInt8]: UInt64]
    /// Names given after this, milliseconds since 1970, stay although facts referred to them once.
    package var usedBefore: Int64
    /// Names given after this stay although no fact has ever referred to them.
    package var unusedBefore: Int64
    /// Of `ArtifactStore.beginSweep`, called before the logs were looked at.
    package var generation: UInt64

    package init(
        firstOffsets: [[UInt8]: UInt64], usedBefore: Int64, unusedBefore: Int64,
        generation: UInt64
    ) {
        self.firstOffsets = firstOffsets
        self.usedBefore = usedBefore
        self.unusedBefore = unusedBefore
        self.generation = generation
    }
}

package struct ArtifactSweepReport: Sendable, Equatable {
    package var names = 0
    package var blobs = 0
    package var bytes: UInt64 = 0

    package init() {}
}
