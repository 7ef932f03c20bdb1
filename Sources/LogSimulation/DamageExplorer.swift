internal import WriteAheadLog

/// Damages a resting disk and demands that the damage is found: refused, or without effect on what is
/// read. What may be missing in silence is the newest transaction alone, as long as nothing but
/// itself proves it.
struct DamageExplorer {
    enum Damage: String, CaseIterable {
        case flippedBit = "flipped bit"
        case zeroedFrame = "zeroed frame"
        case damagedFrame = "damaged frame"
        case shortenedFrame = "frame with a shorter length"
        case bytesFarBeyondTheEnd = "bytes far beyond the end"
        case oldPage = "page of an earlier time"
        case movedPage = "page of another place"
        case shortFile = "file cut short"
        case readError = "read error"
    }

    let options: LogOptions
    var random: SimulationRandom
    var tally = SimulationTally()

    init(options: LogOptions, random: SimulationRandom) {
        self.options = options
        self.random = random
    }

    /// - Parameter older: the same disk at an earlier time of the same life.
    mutating func explore(_ point: CrashPoint, older: DiskImage, count: Int) throws(Violation) {
        for _ in 0..<count {
            let damage = random.element(Damage.allCases)
            var image = point.image
            var faults: [FaultTrigger] = []
            guard apply(damage, to: &image, older: older, &faults) else { continue }
            tally.damages += 1
            do throws(Violation) {
                try judge(image, point, faults: faults)
            } catch {
                throw Violation("\(damage.rawValue) on a resting disk: \(error.sentence)")
            }
        }
    }

    // MARK: - Damage

    /// False when the disk has nothing that could be damaged so.
    private mutating func apply(
        _ damage: Damage, to image: inout DiskImage, older: DiskImage,
        _ faults: inout [FaultTrigger]
    ) -> Bool {
        let segments = image.paths.filter { $0.hasSuffix(".segment") }
        guard !segments.isEmpty else { return false }
        let path =
            random.oneIn(4) ? SimulatedSession.directory + "/manifest" : random.element(segments)
        guard let number = image.names[path] else { return false }
        // The page in which the newest frame begins may hold several of the newest commits, and nothing
        // proves them but that frame's header: what becomes of it says nothing about the log.
        let allPages = image.files[number].cache.occupiedPages
        let isWholePage = damage == .oldPage || damage == .movedPage
        let unproven = isWholePage ? Self.pagesOfNewestHeader(image, path) : []
        let pages = allPages.filter { !unproven.contains($0) }
        let segment = random.element(segments)
        switch damage {
        case .flippedBit:
            guard !pages.isEmpty else { return false }
            let place = random.element(pages) * PagedBytes.pageBytes
                + random.below(PagedBytes.pageBytes)
            guard var byte = image.bytes(path, place..<place + 1), byte.count == 1 else {
                return false
            }
            byte[0] ^= 1 << UInt8(random.below(8))
            image.damage(path, at: place, byte)
        case .zeroedFrame, .damagedFrame:
            let frames = Self.frames(image, segment)
            guard !frames.isEmpty else { return false }
            let frame =
                random.oneIn(3) ? frames[frames.count - 1] : random.element(frames)
            image.damage(
                segment, at: frame,
                damage == .zeroedFrame
                    ? [UInt8](repeating: 0, count: 128) : random.bytes(random.between(1...128)))
        case .shortenedFrame:
            guard let (frame, length) = Self.lengthOfFirstBlock(image, segment) else {
                return false
            }
            image.damage(segment, at: frame + 12, withUnsafeBytes(of: length.littleEndian, Array.init))
        case .bytesFarBeyondTheEnd:
            // More than one commit, half a segment at most, beyond the last occupied page.
            guard let newest = segments.last(where: { !Self.frames(image, $0).isEmpty }),
                let file = image.names[newest]
            else { return false }
            let size = image.files[file].cache.count
            let end = Self.frames(image, newest).last! + 4096
            guard end + size / 2 + 4096 < size - 16384 else { return false }
            image.damage(
                newest, at: random.between(end + size / 2 + 4096...size - 16384),
                [UInt8(random.between(1...255))])
        case .oldPage:
            guard let oldNumber = older.names[path], !pages.isEmpty else { return false }
            let page = random.element(pages)
            let old = older.files[oldNumber].device.bytes(
                page * PagedBytes.pageBytes..<(page + 1) * PagedBytes.pageBytes)
            guard !old.isEmpty else { return false }
            image.damage(path, at: page * PagedBytes.pageBytes, old)
        case .movedPage:
            guard pages.count > 1 else { return false }
            let (from, to) = (random.element(pages), random.element(pages))
            let bytes = image.bytes(
                path, from * PagedBytes.pageBytes..<(from + 1) * PagedBytes.pageBytes)!
            image.damage(path, at: to * PagedBytes.pageBytes, bytes)
        case .shortFile:
            let size = image.byteCount(segment)!
            guard size > 0 else { return false }
            image.truncate(segment, to: random.below(size))
        case .readError:
            faults = [
                FaultTrigger(
                    .readError, .call(random.between(1...4)),
                    pathSuffix: random.oneIn(4) ? "manifest" : ".segment")
            ]
        }
        return true
    }

    static func pagesOfNewestHeader(_ image: DiskImage, _ path: String) -> [Int] {
        guard path.hasSuffix(".segment"), let newest = frames(image, path).last else { return [] }
        let pages = [newest, newest + frameHeaderBytes - 1].map { $0 / PagedBytes.pageBytes }
        // A frame that follows in the same page is read as part of it.
        return Array(pages[0]...pages[1])
    }

    private static let frameHeaderBytes = 128

    /// The last frame of a segment that has several blocks, and how long it would be with the first
    /// one alone.
    private static func lengthOfFirstBlock(_ image: DiskImage, _ path: String) -> (Int, UInt32)? {
        for frame in frames(image, path).reversed() {
            guard let bytes = image.bytes(path, frame..<frame + 160), bytes.count == 160 else {
                continue
            }
            let (length, blockCount, stored) = bytes.withUnsafeBytes {
                (
                    UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 12, as: UInt32.self)),
                    UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 76, as: UInt32.self)),
                    UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 140, as: UInt32.self))
                )
            }
            if blockCount > 1, stored < length { return (frame, 32 + stored) }
        }
        return nil
    }

    /// Where frames begin, by their magic.
    static func frames(_ image: DiskImage, _ path: String) -> [Int] {
        guard let number = image.names[path] else { return [] }
        let magic: [UInt8] = Array("BSFF".utf8)
        var found: [Int] = []
        for page in image.files[number].cache.occupiedPages {
            let start = page * PagedBytes.pageBytes
            let bytes = image.files[number].cache.bytes(start..<start + PagedBytes.pageBytes)
            for place in stride(from: 0, to: bytes.count - 3, by: 8)
            where bytes[place] == magic[0] && bytes[place + 1] == magic[1]
                && bytes[place + 2] == magic[2] && bytes[place + 3] == magic[3]
            {
                found.append(start + place)
            }
        }
        return found
    }

    // MARK: - Judgement

    private mutating func judge(_ image: DiskImage, _ point: CrashPoint, faults: [FaultTrigger])
        throws(Violation)
    {
        let session = SimulatedSession(
            options: options, disk: SimulatedDisk(image, seed: random.next()),
            model: point.model,
            clock: SimulationClock(seed: random.next(), wallMilliseconds: point.wallMilliseconds),
            random: random.fork())
        session.setFaults(faults)
        defer {
            session.takeFiredFaults()
            session.close()
            tally.add(session.tally)
        }
        guard case .success(let log) = session.open() else { return }
        try Self.judge(log, point.model, tally: &session.tally)
    }

    /// Judges a log whose disk was damaged: whatever it gives must be right, and what it does not
    /// give must be refused, except for the newest transaction.
    ///
    /// - Parameter recordedCount: what the state slot had recorded, where a write went over the place of
    ///   another one: that can take every commit since then (docs/assumptions.md).
    static func judge(
        _ log: Log, _ model: LogModel, recordedCount: Int? = nil, tally: inout SimulationTally
    ) throws(Violation) {
        var limit = model.beforeNewest
        if let recordedCount { limit.recordCount = min(limit.recordCount, recordedCount) }
        let head = Int(log.headOffset)
        guard head <= model.projectedCount else {
            tally.phantom += head - model.projectedCount
            throw Violation("the head is \(head), but only \(model.projectedCount) were submitted")
        }
        var model = model
        if head > model.records.count || !model.pending.isEmpty {
            let count = (0...model.pending.count).first {
                model.outcome($0).recordCount == head
                    && model.outcome($0).small == Oracle.smallState(log)
            }
            if let count { model.resolve(count) }
        }
        // Where damage ended the log at an unknown place a new epoch says so: its positions are others.
        let isEndDeclared = log.epoch > 1
        let isDeclared = isEndDeclared || !log.recovery.losses.isEmpty
        if isDeclared {
            guard log.profile == .standard else { throw Violation("silStrict gave up records") }
            tally.declaredGaps += 1
        }
        let acknowledgedCount = model.records.count
        if head < acknowledgedCount {
            guard head >= limit.recordCount || isEndDeclared else {
                tally.lost += model.records.count - head
                throw Violation(
                    "\(model.records.count - head) acknowledged records are missing in silence: "
                        + "the head is \(head), before the newest commit it was "
                        + "\(limit.recordCount) (row \(log.recovery.row.rawValue), losses \(log.recovery.losses))")
            }
            if !isEndDeclared { tally.newestLost += 1 }
            model.loseNewest(recordCount: head, small: limit.small)
        }
        let small = Oracle.smallState(log)
        let mayBeOlder = isDeclared || (recordedCount != nil && head < acknowledgedCount)
        guard small == model.small || small == model.beforeNewest.small || mayBeOlder else {
            throw Violation("cursors and registers went back in silence (row \(log.recovery.row.rawValue)): "
                    + "\(small), not \(model.small)")
        }
        try readWhatItGives(log, model, tally: &tally)
    }

    private static func readWhatItGives(
        _ log: Log, _ model: LogModel, tally: inout SimulationTally
    ) throws(Violation) {
        var expected = Int(log.firstOffset)
        var time = Int64.min
        var wrong: String?
        while expected < model.records.count {
            let start = expected
            let read = Result { () throws(LogError) in
                try log.read(from: UInt64(start)) { record in
                    wrong = Oracle.mismatch(record, model, expected, &time)
                    expected += 1
                    return wrong == nil
                }
            }
            if let wrong { throw Violation(wrong) }
            tally.recordsChecked += expected - start
            switch read {
            case .success:
                guard expected > start else {
                    throw Violation("reading ended at \(expected) before \(model.records.count)")
                }
            case .failure(.gap(let gap)):
                guard !gap.reasons.isDisjoint(with: .corrupt), log.profile == .standard else {
                    throw Violation("a gap that is not said to be damage: \(gap)")
                }
                expected = Int(gap.offsets.upperBound)
            case .failure(.corrupt), .failure(.disk):
                tally.refusals += 1
                return
            case .failure(let error): throw Violation("reading failed with \(error.sentence)")
            }
        }
    }
}
