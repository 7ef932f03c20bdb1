/// The segment that is being sealed.
struct SealingWork {
    var id: UInt64
    var sealer: SegmentSealer
}

/// Sealing closed segments, oldest first: each digest continues the one before.
extension LogEngine {
    static let sealingStepBytes = 1 << 20

    /// Seals a piece of the oldest segment that is not sealed; false when all are.
    func sealingStep() -> Bool {
        guard let work = sealingWork() else { return false }
        do throws(DiskError) {
            switch try work.sealer.step(maximumBytes: LogEngine.sealingStepBytes) {
            case .more: break
            case .sealed(let footer): sealed(work.id, footer.digest)
            case .damaged(let damage, let digest): damaged(work.id, damage, digest: digest)
            }
        } catch {
            derivedWorkFailed("sealing", error)
        }
        return true
    }

    /// What is under way, or the next closed segment.
    private func sealingWork() -> SealingWork? {
        monitor.lock()
        if let work = upkeep.sealing {
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
            let image = try SegmentImage(
                file, limit: UInt64(FormatLimits.segmentHeaderBytes), uncached: true)
            guard image.readFailure == nil, let header = try? SegmentHeader(image.bytes) else {
                // Without its header nothing in it can be verified.
                damaged(
                    index.entry.id,
                    [
                        SegmentDamage(
                            position: 0, offsets: index.entry.baseOffset..<index.endOffset,
                            reason: "the segment header does not verify")
                    ], digest: .zero)
                return nil
            }
            let work = SealingWork(
                id: index.entry.id,
                sealer: SegmentSealer(
                    file: file, path: path, header: header, entry: index.entry,
                    endOffset: index.endOffset, previousDigest: previous))
            monitor.withLock { upkeep.sealing = work }
            return work
        } catch {
            derivedWorkFailed("sealing", error)
            return nil
        }
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
        guard mark(id, digest: digest, flags: SegmentEntry.Flags.sealed | SegmentEntry.Flags.damaged)
        else { return }
        declareDamage(damage.map(\.offsets).filter { !$0.isEmpty })
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
