internal import Glibc

/// The segment that is being sealed, or before that, under the safety profile, rewritten densely.
struct SealingWork {
    enum Phase {
        case repacking(SegmentRepacker)
        case sealing(SegmentSealer)
    }

    var index: SegmentIndex
    var header: SegmentHeader
    var file: any DiskFile
    var previousDigest: Digest256
    var phase: Phase
}

/// Sealing closed segments, oldest first: each digest continues the one before.
extension LogEngine {
    static let sealingStepBytes = 1 << 20
    /// How often the same segment is tried, a second apart.
    static let repackingAttemptsMaximum = 3
    static let sealingAttemptsMaximum = 10

    /// Seals a piece of the oldest segment that is not sealed; false when all are.
    func sealingStep() -> Bool {
        guard let work = sealingWork() else { return false }
        do throws(DiskError) {
            switch work.phase {
            case .repacking(let repacker): try repack(work, repacker)
            case .sealing(let sealer): try seal(work, sealer)
            }
        } catch {
            sealingFailed(work, error)
        }
        return true
    }

    /// Nothing is removed before it is sealed, so a segment that cannot be rewritten densely is sealed as
    /// it is, and one that cannot be read or written counts as damaged after some attempts: its file
    /// stays, and nothing in it is declared lost.
    private func sealingFailed(_ work: SealingWork, _ error: DiskError) {
        let count = monitor.withLock {
            upkeep.sealingFailureCount += 1
            return upkeep.sealingFailureCount
        }
        failed(.sealing, "sealing", error)
        switch work.phase {
        case .repacking(let repacker):
            guard error.code == ENOSPC || count >= LogEngine.repackingAttemptsMaximum else { return }
            repacker.discard()
            beginSealing(work)
        case .sealing:
            guard count >= LogEngine.sealingAttemptsMaximum else { return }
            let id = work.index.entry.id
            events.emit(
                .corruptionFound(
                    Corruption(
                        file: files.path(id), position: 0, offset: work.index.entry.baseOffset,
                        reason: error.sentence)))
            _ = mark(
                id, digest: .zero, flags: SegmentEntry.Flags.sealed | SegmentEntry.Flags.damaged)
        }
    }

    private func seal(_ work: SealingWork, _ sealer: SegmentSealer) throws(DiskError) {
        let id = work.index.entry.id
        switch try sealer.step(maximumBytes: LogEngine.sealingStepBytes) {
        case .more: break
        case .sealed(let footer): sealed(id, footer.digest)
        case .damaged(let damage, let digest): damaged(id, damage, digest: digest)
        }
    }

    private func repack(_ work: SealingWork, _ repacker: SegmentRepacker) throws(DiskError) {
        switch try repacker.step(maximumBytes: LogEngine.sealingStepBytes) {
        case .more: break
        case .notWorthwhile, .damaged: beginSealing(work)
        case .repacked(let entry, let header):
            monitor.withLock { upkeep.sealing = nil }
            exchange(work.index, for: entry, header, repacker)
        }
    }

    /// Puts a rewritten segment in the place of the old one; it is sealed next.
    private func exchange(
        _ old: SegmentIndex, for entry: SegmentEntry, _ header: SegmentHeader,
        _ repacker: SegmentRepacker
    ) {
        var isBegun = false
        var entry = entry
        entry.retentionMilliseconds = old.entry.retentionMilliseconds
        entry.fileBytes = header.segmentBytes
        let isWritten = betweenCommits { [self] (writer) throws(DiskError) in
            guard let place = writer.table.segments.firstIndex(where: { $0.id == old.entry.id })
            else { return }
            isBegun = true
            try writer.changeTable(removing: true) { $0.segments[place] = entry }
            let table = writer.table
            monitor.withLock {
                guard let number = segments.firstIndex(where: { $0.entry.id == old.entry.id }) else {
                    return
                }
                segments[number] = SegmentIndex(
                    closed: entry, in: table, endOffset: old.endOffset)
                upkeep.isPlanStale = true
                counters.segmentsRepacked += 1
            }
        }
        if isBegun {
            // When it failed, a slot of the table may name either file: both stay for the opening,
            // which removes the one that is not named.
            if isWritten { discard([old]) }
        } else {
            repacker.discard()
        }
    }

    /// What is under way, or the next closed segment.
    private func sealingWork() -> SealingWork? {
        monitor.lock()
        if let work = upkeep.sealing {
            // It may have been removed meanwhile.
            guard segments.contains(where: { $0.entry.id == work.index.entry.id }) else {
                upkeep.sealing = nil
                monitor.unlock()
                if case .repacking(let repacker) = work.phase { repacker.discard() }
                return nil
            }
            monitor.unlock()
            return work
        }
        guard
            let number = segments.dropLast().firstIndex(where: { !$0.entry.isSealed })
        else {
            monitor.unlock()
            return nil
        }
        let index = segments[number]
        let previous = number == 0 ? upkeep.anchorDigest : segments[number - 1].entry.digest
        monitor.unlock()
        let path = files.path(index.entry.id)
        do throws(DiskError) {
            let file = try disk.open(path, .readWrite)
            guard let header = try file.segmentHeader(uncached: true) else {
                damaged(index.entry.id, [.header(of: index)], digest: .zero)
                return nil
            }
            let sealer = sealer(index, header, file, previous)
            var work = SealingWork(
                index: index, header: header, file: file, previousDigest: previous,
                phase: .sealing(sealer))
            if SegmentRepacker.canPay(header, index.entry), isBehindCheckpoint(index) {
                work.phase = .repacking(
                    SegmentRepacker(
                        disk: disk, directory: directory, source: file, header: header,
                        entry: index.entry, endOffset: index.endOffset, id: preparer.takeID(),
                        salt: environment.random(), compression: options.compression))
            }
            monitor.withLock {
                upkeep.sealing = work
                upkeep.sealingFailureCount = 0
            }
            return work
        } catch {
            failed(.sealing, "sealing", error)
            return nil
        }
    }

    private func sealer(
        _ index: SegmentIndex, _ header: SegmentHeader, _ file: any DiskFile, _ previous: Digest256
    ) -> SegmentSealer {
        SegmentSealer(
            file: file, path: files.path(index.entry.id), header: header, entry: index.entry,
            endOffset: index.endOffset, previousDigest: previous)
    }

    private func beginSealing(_ work: SealingWork) {
        var work = work
        work.phase = .sealing(sealer(work.index, work.header, work.file, work.previousDigest))
        monitor.withLock {
            upkeep.sealing = work
            upkeep.sealingFailureCount = 0
        }
    }

    /// Whether opening would not read a segment's frames, so that other frames may take their place.
    /// Takes a checkpoint where that is missing.
    private func isBehindCheckpoint(_ index: SegmentIndex) -> Bool {
        func isBehind() -> Bool {
            monitor.withLock {
                guard upkeep.capture == nil, let id = upkeep.checkpointSegmentID,
                    let place = segments.firstIndex(where: { $0.entry.id == id }),
                    let own = segments.firstIndex(where: { $0.entry.id == index.entry.id })
                else { return false }
                return own < place
            }
        }
        return isBehind() || (takeCheckpoint() && isBehind())
    }

    private func sealed(_ id: UInt64, _ digest: Digest256) {
        if mark(id, digest: digest, flags: SegmentEntry.Flags.sealed) {
            events.emit(.segmentSealed(identifier: id, digest: digest))
        }
    }

    /// A closed segment does not verify. It counts as sealed, so that it can be removed once that is
    /// due, and keeps its file.
    func damaged(_ id: UInt64, _ damage: [SegmentDamage], digest: Digest256) {
        let path = files.path(id)
        for place in damage {
            events.emit(
                .corruptionFound(
                    Corruption(
                        file: path, position: place.position, offset: place.offsets.lowerBound,
                        reason: place.reason)))
        }
        // Declared first: a segment that is marked is not looked at again.
        declareDamage(damage.map(\.offsets).filter { !$0.isEmpty })
        _ = mark(id, digest: digest, flags: SegmentEntry.Flags.sealed | SegmentEntry.Flags.damaged)
    }

    private func mark(_ id: UInt64, digest: Digest256, flags: UInt32) -> Bool {
        let isWritten = betweenCommits { [self] (writer) throws(DiskError) in
            guard let place = writer.table.segments.firstIndex(where: { $0.id == id }) else { return }
            try writer.changeTable { table in
                table.segments[place].flags |= flags
                // A digest stands once given: damage that is found later does not change the chain.
                if table.segments[place].digest == .zero { table.segments[place].digest = digest }
            }
            let entry = writer.table.segments[place]
            monitor.withLock {
                guard let number = segments.firstIndex(where: { $0.entry.id == id }) else { return }
                segments[number].entry = entry
                // From now on they are in the footer.
                if flags & SegmentEntry.Flags.damaged == 0 { segments[number].take(points: []) }
                upkeep.isPlanStale = true
                counters.segmentsSealed += 1
            }
        }
        monitor.withLock { upkeep.sealing = nil }
        return isWritten
    }
}
