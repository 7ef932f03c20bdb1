package import Facts
internal import Synchronization
internal import WriteAheadLog

/// The durable store: blobs as files by digest, names in a log of their own (`names/`). A name is given
/// after its bytes are durable and answered after the name is; what a crash leaves between the two is
/// removed at the next opening.
package final class FileArtifactStore: ArtifactStore, @unchecked Sendable {
    // Sendable by hand: `index` is touched with `writer` held only.

    package static let freeSpaceReserveBytes: UInt64 = 64 << 20

    private let directory: BlobDirectory
    private(set) var index: ArtifactIndex
    /// Held while names change on disk; never while somebody waits in `names`.
    private let writer = Monitor()
    private let names: Mutex<ArtifactNames>
    /// An upload holds what has come of it and so much ahead. What it only announced holds nothing: a length is one
    /// line of a head, and whoever sends its bytes one by one would keep everybody else out.
    let reservationBytes: UInt64
    private let capacityBytes: UInt64
    private let clock: ArtifactClock
    private let nextUpload = Atomic<UInt64>(0)
    private let whenDamaged: @Sendable (Digest) -> Void

    /// Opens the store in `directory`, making it where it is absent. Blocks.
    /// - Parameter whenDamaged: told the digest of bytes that were read and are not what they were.
    package convenience init(
        directory: String, capacityBytes: UInt64,
        whenDamaged: @escaping @Sendable (Digest) -> Void
    ) throws(ArtifactError) {
        try self.init(
            directory: directory, capacityBytes: capacityBytes, indexSizes: .init(),
            disk: LinuxDisk(), environment: .linux, whenDamaged: whenDamaged)
    }

    init(
        directory: String, capacityBytes: UInt64, reservationBytes: UInt64 = 64 << 20,
        indexSizes: ArtifactIndex.Sizes, disk: any Disk, environment: LogEnvironment,
        whenDamaged: @escaping @Sendable (Digest) -> Void = { _ in }
    ) throws(ArtifactError) {
        self.capacityBytes = capacityBytes
        self.reservationBytes = reservationBytes
        self.whenDamaged = whenDamaged
        var names = ArtifactNames(
            recordBytesMaximum: ArtifactIndex.recordBytesMaximum(indexSizes))
        do throws(LogError) {
            index = try ArtifactIndex.open(
                "\(directory)/names", indexSizes, disk, environment
            ) { record, offset in
                names.apply(record, recordOffset: offset)
            }
        } catch {
            throw ArtifactError(.failed, "the artifact store does not open: \(error.sentence)")
        }
        let isWhole = index.isWhole
        self.isWhole = isWhole
        if !isWhole {
            // What facts refer to is read again from the beginning. All that is known is written again behind the
            // loss: the next opening does not meet it. Without room now that opening tries again.
            names.forgetFollowed()
            try? index.writeAgain(&names)
        }
        clock = ArtifactClock(stored: index.storedClock, environment)
        do throws(DiskError) {
            self.directory = try BlobDirectory(directory, disk)
            // Where names were lost their bytes stay until the next opening: an operator can still save them.
            try self.directory.removeLeftovers { !isWhole || names.holds($0) }
        } catch {
            throw ArtifactError(.failed, "the artifact store does not open: \(error.sentence)")
        }
        self.names = Mutex(names)
    }

    package func close() {
        writer.lock()
        defer { writer.unlock() }
        // Without it the next opening takes the clock for older, and artifacts for younger.
        try? index.store(clock: clock.stored)
        index.log.close()
    }

    /// False where it was opened and the disk had lost names of artifacts. Their bytes stay until the next
    /// opening, and what facts refer to is recorded and fetched again; what was put here has to be put again.
    package let isWhole: Bool

    // MARK: Names

    package func entry(_ name: ArtifactName) -> ArtifactEntry? { names.withLock { $0[name] } }

    package func names(of digest: Digest) -> [StoredArtifact] {
        names.withLock { names in
            names.names(of: digest).sorted().compactMap { names[$0]?.stored }
        }
    }

    package func list(after name: ArtifactName?, count: Int, isPending: Bool) -> [ArtifactEntry] {
        // Sorted without the lock: every request asks for a name.
        let page = ArtifactNames.page(
            names.withLock { $0.names(isPending: isPending) }, after: name, count: count)
        return names.withLock { names in page.compactMap { names[$0] } }
    }

    package func pendingNames() -> [ArtifactName] { names.withLock { $0.names(isPending: true) } }

    package var usage: ArtifactUsage {
        var usage = names.withLock { $0.usage }
        usage.capacityBytes = capacityBytes
        return usage
    }

    // MARK: Bytes

    package func beginUpload(expectedBytes: UInt64) throws(ArtifactError) -> any ArtifactUpload {
        guard usage.hasRoom(for: expectedBytes) else { throw .full(capacityBytes) }
        let first = min(expectedBytes, reservationBytes)
        try reserve(first)
        do throws(DiskError) {
            let free = try directory.disk.freeBytes(directory.root)
            guard free >= FileArtifactStore.freeSpaceReserveBytes + min(expectedBytes, 1 << 60) else {
                throw DiskError(.freeSpace, directory.root, code: 0)
            }
            let number = nextUpload.add(1, ordering: .relaxed).newValue
            let (path, file) = try directory.create(number)
            return FileArtifactUpload(
                self, directory.disk, path, file, expectedBytes: expectedBytes, reservedBytes: first)
        } catch {
            giveBack(first)
            if error.operation == .freeSpace, error.code == 0 {
                throw ArtifactError(
                    .full, "the disk under \(directory.root) has no room; make some")
            }
            throw ArtifactError(.failed, error.sentence)
        }
    }

    func reserve(_ bytes: UInt64) throws(ArtifactError) {
        let fits = names.withLock { names in
            var usage = names.usage
            usage.capacityBytes = capacityBytes
            guard usage.hasRoom(for: bytes) else { return false }
            names.reservedBytes += bytes
            return true
        }
        guard fits else { throw .full(capacityBytes) }
    }

    func giveBack(_ reservedBytes: UInt64) {
        names.withLock { $0.reservedBytes -= reservedBytes }
    }

    package func open(_ digest: Digest) throws(ArtifactError) -> any ArtifactReader {
        guard names.withLock({ $0.holds(digest) }) else {
            throw ArtifactError(.notFound, "no artifact has the digest sha256:\(digest)")
        }
        do throws(DiskError) {
            return try FileArtifactReader(
                directory.disk.open(directory.path(digest), .read), digest, whenDamaged: whenDamaged)
        } catch {
            throw ArtifactError(.failed, error.sentence)
        }
    }

    /// A durable file becomes the bytes of a name. Blocks.
    func adopt(_ path: String, _ content: ArtifactContent, as name: ArtifactName)
        throws(ArtifactError) -> StoredArtifact
    {
        writer.lock()
        defer { writer.unlock() }
        var (entry, isHeld) = names.withLock { names in
            (names[name] ?? ArtifactEntry(name: name), names.holds(content.digest))
        }
        if let stored = entry.stored {
            guard stored.content.digest == content.digest else {
                throw .exists(name, stored.content.digest)
            }
            return try renew(entry, stored)
        }
        guard names.withLock({ $0[name] != nil || $0.hasRoom(for: [entry]) }) else {
            throw FileArtifactStore.tooManyNames
        }
        if !isHeld {
            do throws(DiskError) {
                try directory.adopt(path, as: content.digest)
            } catch {
                throw ArtifactError(.failed, error.sentence)
            }
        }
        let stored = StoredArtifact(name: name, content: content, storedMilliseconds: clock.nowMilliseconds)
        entry.stored = stored
        do throws(ArtifactError) {
            try write([.name(entry)])
        } catch {
            // Without its name nobody would find it; with the outcome unknown it may be needed.
            if !isHeld, error.kind != .outcomeUnknown { try? directory.remove(content.digest) }
            throw error
        }
        return stored
    }

    /// The same bytes were put again: somebody is about to refer to them, so that their age counts from now.
    /// With `writer` held. Blocks.
    private func renew(_ entry: ArtifactEntry, _ stored: StoredArtifact) throws(ArtifactError)
        -> StoredArtifact
    {
        let now = clock.nowMilliseconds
        guard now > stored.storedMilliseconds else { return stored }
        var renewed = entry
        renewed.stored?.storedMilliseconds = now
        try write([.name(renewed)])
        return renewed.stored ?? stored
    }

    // MARK: What facts refer to

    package func pin(_ name: ArtifactName) -> ArtifactPin? {
        guard names.withLock({ $0.pin(name) }) else { return nil }
        return ArtifactPin { [weak self] in self?.names.withLock { $0.unpin(name) } }
    }

    @discardableResult
    package func record(
        _ uses: [ArtifactUse], log: [UInt8], upTo offset: UInt64, isReceived: Bool
    ) throws(ArtifactError) -> Int {
        writer.lock()
        defer { writer.unlock() }
        let (changed, new, hasRoom) = names.withLock { names in
            let all = names.taking(uses, log: log, isReceived: isReceived)
            let new = all.filter { names[$0.name] == nil }
            return (all.filter { names[$0.name] != nil }, new, names.hasRoom(for: new))
        }
        guard hasRoom || !isReceived else { throw FileArtifactStore.tooManyNames }
        // What facts of this zone refer to and nobody has put is kept as far as there is room.
        try write(
            (hasRoom ? changed + new : changed).map { .name($0) }
                + [.followed(log: log, offset: offset)])
        return hasRoom ? 0 : new.count
    }

    private static let tooManyNames = ArtifactError(
        .full,
        "the artifact store knows as many names as it has room for; it has room again when facts that refer "
            + "to what is not here were truncated, and artifacts swept")

    package func followedOffset(log: [UInt8]) -> UInt64 {
        names.withLock { $0.followed[log]?.offset ?? 0 }
    }

    package func beginSweep() -> UInt64 {
        names.withLock { names in
            names.sweeps += 1
            return names.sweeps
        }
    }

    package func sweep(_ rules: ArtifactSweepRules) throws(ArtifactError) -> ArtifactSweepReport {
        var report = ArtifactSweepReport()
        for candidate in names.withLock({ $0.sweepable(rules) }) {
            writer.lock()
            defer { writer.unlock() }
            // A pin or a use may have come since.
            guard names.withLock({ $0.condemn(candidate.name, rules) }) else { continue }
            do throws(ArtifactError) {
                try write([.removed(candidate.name)])
            } catch {
                names.withLock { $0.spare(candidate.name) }
                throw error
            }
            guard let stored = candidate.stored else { continue }
            report.names += 1
            let digest = stored.content.digest
            guard !names.withLock({ $0.holds(digest) }) else { continue }
            report.blobs += 1
            report.bytes += stored.content.size
            do throws(DiskError) {
                try directory.remove(digest)
            } catch {
                throw ArtifactError(.failed, error.sentence)
            }
        }
        return report
    }

    package func trustedMilliseconds() throws(ArtifactError) -> Int64? {
        let (isTrusted, shift) = clock.observe()
        writer.lock()
        defer { writer.unlock() }
        if let shift { try move(shift) }
        do throws(LogError) {
            try index.store(clock: clock.stored)
        } catch {
            throw ArtifactError(.failed, "the index of artifact names: \(error.sentence)")
        }
        return isTrusted ? clock.nowMilliseconds : nil
    }

    /// What was stored while the clock stood behind did not live through what it missed.
    private func move(_ shift: GuardedClock.Shift) throws(ArtifactError) {
        let all = names.withLock { $0.known.values.map(\.entry) }
        for var entry in all {
            guard let time = entry.stored?.storedMilliseconds, shift.apply(time) != time else {
                continue
            }
            entry.stored?.storedMilliseconds = shift.apply(time)
            try write([.name(entry)])
        }
    }

    /// Appends states durably, then makes them true in memory. With `writer` held. Blocks.
    private func write(_ records: [ArtifactIndexRecord]) throws(ArtifactError) {
        do throws(LogError) {
            if index.needsCompaction { try compact() }
            try index.append(records) { record, offset in
                names.withLock { $0.apply(record, recordOffset: offset) }
            }
        } catch {
            let kind: ArtifactError.Kind =
                switch error {
                case .outcomeUnknown: .outcomeUnknown
                case .rejected(.full), .rejected(.noSpace), .rejected(.lowSpace): .full
                case .rejected(.overloaded): .busy
                default: .failed
                }
            throw ArtifactError(kind, "the index of artifact names: \(error.sentence)")
        }
    }

    private func compact() throws(LogError) {
        // Nobody but the holder of `writer` changes names on disk; pins and reservations are carried over.
        var copy = names.withLock { $0 }
        defer {
            let written = copy
            names.withLock { $0.takeRecordOffsets(of: written) }
        }
        try index.compact(&copy)
    }
}
