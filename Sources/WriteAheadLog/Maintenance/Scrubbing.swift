/// How far the pass over the sealed segments is.
struct ScrubbingState {
    var work: SealingVerification?
    /// Where this pass goes on.
    var nextOffset: UInt64 = 0
    /// Segments in which a reader met damage: read first.
    var suspects: Set<UInt64> = []
    /// When the next piece may be read.
    var dueNanoseconds: Int64 = 0
}

/// A sealed segment that is read again.
final class SealingVerification {
    let id: UInt64
    private let walker: SegmentWalker
    private let hash = SHA256Stream()
    private let digest: Digest256
    private(set) var damage: [SegmentDamage] = []

    init(file: any DiskFile, header: SegmentHeader, index: SegmentIndex, previous: Digest256) {
        id = index.entry.id
        digest = index.entry.digest
        hash.update(previous)
        walker = SegmentWalker(
            file: file, header: header,
            to: .init(index.entry, offset: index.endOffset), isUncached: true, hash: hash)
    }

    var readBytes: UInt64 { walker.readBytes }

    /// Reads some bytes more; true at the end.
    func step(maximumBytes: UInt64) throws(DiskError) -> Bool {
        let begin = walker.readBytes
        while walker.readBytes - begin < maximumBytes {
            switch try walker.next() {
            case .frame(let frame):
                if let found = walker.records(of: frame, { _ in }) { damage.append(found) }
            case .damage(let found): damage.append(found)
            case .searching: break
            case .end:
                if damage.isEmpty, hash.finish() != digest {
                    damage.append(
                        SegmentDamage(
                            position: 0, offsets: 0..<0,
                            reason: "its digest is not the one that was given when it was sealed"))
                }
                return true
            }
        }
        return false
    }
}

/// Scrubbing: sealed segments are read again, a little at a time, so that damage is found while there
/// is still another copy somewhere.
extension LogEngine {
    static let scrubbingStepBytes: UInt64 = 256 * 1024

    /// Reads a piece when one is due; false when none is.
    func scrubbingStep() -> Bool {
        let now = environment.monotonicNanoseconds()
        let (isDue, rate) = monitor.withLock {
            (
                !upkeep.scrubbing.suspects.isEmpty
                    || (options.scrubBytesPerSecond > 0 && now >= upkeep.scrubbing.dueNanoseconds),
                options.scrubBytesPerSecond
            )
        }
        guard isDue, let work = scrubbingWork(now) else { return false }
        do throws(DiskError) {
            let begin = work.readBytes
            let isEnd = try work.step(maximumBytes: LogEngine.scrubbingStepBytes)
            let count = work.readBytes - begin
            monitor.withLock {
                counters.bytesScrubbed += count
                if rate > 0 {
                    upkeep.scrubbing.dueNanoseconds =
                        now + Int64(Double(count) / Double(rate) * 1_000_000_000)
                }
                if isEnd {
                    upkeep.scrubbing.work = nil
                    upkeep.scrubbing.suspects.remove(work.id)
                }
            }
            if isEnd, !work.damage.isEmpty {
                damaged(work.id, work.damage, digest: .zero)
            }
        } catch {
            monitor.withLock { upkeep.scrubbing.work = nil }
            failed(.scrubbing, "scrubbing", error)
        }
        return true
    }

    func nextScrubbingNanoseconds() -> Int64? {
        guard options.scrubBytesPerSecond > 0, segments.contains(where: \.entry.isSealed) else {
            return nil
        }
        return upkeep.scrubbing.dueNanoseconds
    }

    /// A reader met damage in a closed segment.
    func suspect(_ id: UInt64) {
        monitor.withLock {
            guard let index = segments.first(where: { $0.entry.id == id }), index.entry.isSealed,
                index.entry.flags & SegmentEntry.Flags.damaged == 0
            else { return }
            upkeep.scrubbing.suspects.insert(id)
            wantMaintenance()
        }
    }

    /// What is under way; else a suspect, else the next segment of the pass. A new pass begins after
    /// the interval.
    private func scrubbingWork(_ now: Int64) -> SealingVerification? {
        monitor.lock()
        if let work = upkeep.scrubbing.work {
            if segments.contains(where: { $0.entry.id == work.id }) {
                monitor.unlock()
                return work
            }
            upkeep.scrubbing.work = nil
        }
        upkeep.scrubbing.suspects.formIntersection(segments.map(\.entry.id))
        let number = segments.firstIndex { index in
            guard index.entry.isSealed, index.entry.flags & SegmentEntry.Flags.damaged == 0 else {
                return false
            }
            return upkeep.scrubbing.suspects.isEmpty
                ? index.entry.baseOffset >= upkeep.scrubbing.nextOffset
                    && index.endOffset > index.entry.baseOffset
                : upkeep.scrubbing.suspects.contains(index.entry.id)
        }
        guard let number else {
            upkeep.scrubbing.nextOffset = 0
            upkeep.scrubbing.dueNanoseconds = now + options.scrubIntervalMilliseconds * 1_000_000
            upkeep.scrubbing.suspects = []
            monitor.unlock()
            return nil
        }
        let index = segments[number]
        let previous = number == 0 ? upkeep.anchorDigest : segments[number - 1].entry.digest
        if upkeep.scrubbing.suspects.isEmpty { upkeep.scrubbing.nextOffset = index.endOffset }
        monitor.unlock()
        do throws(DiskError) {
            let file = try disk.open(files.path(index.entry.id), .read)
            guard let header = try file.segmentHeader(uncached: true) else {
                damaged(index.entry.id, [.header(of: index)], digest: .zero)
                return nil
            }
            let work = SealingVerification(
                file: file, header: header, index: index, previous: previous)
            monitor.withLock { upkeep.scrubbing.work = work }
            return work
        } catch {
            failed(.scrubbing, "scrubbing", error)
            return nil
        }
    }
}
