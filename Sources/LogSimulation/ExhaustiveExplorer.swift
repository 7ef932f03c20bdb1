package import WriteAheadLog

/// Every crash state of a small trace, none drawn: before each call, with each thing that is not
/// synced missing alone or there alone, and each write split at 1, 3 and 4,096 bytes with one piece
/// missing.
package struct ExhaustiveExplorer {
    private enum Unit {
        case name(Int)
        case write(file: Int, index: Int)
    }

    /// What of a unit arrives: nothing, or these bytes of it; a name arrives whole.
    private typealias Selection = (_ unit: Int) -> [Range<Int>]

    private static let splits = [1, 3, 4096]

    private let options: LogOptions
    private var random: SimulationRandom
    package private(set) var tally = SimulationTally()
    /// Calls that changed the disk, before each of which it crashed.
    package private(set) var callCount = 0

    /// Whether the log also takes checkpoints, seals, removes a segment and uses its file again: some
    /// times as many states.
    private let maintains: Bool

    package init(profile: Profile, seed: UInt64, maintains: Bool = false) {
        self.maintains = maintains
        options = LogOptions(
            profile: profile, capacityBytes: 12 << 20, segmentBytes: 1 << 20,
            retention: RetentionOptions(retentionMilliseconds: 60_000))
        random = SimulationRandom(seed: seed)
    }

    /// The life of a log from its creation: a few appends, state changes, a roll.
    /// - Returns: what was wrong first, or nil.
    package mutating func run() -> SimulationFailure? {
        let session = SimulatedSession(
            options: options, disk: SimulatedDisk(seed: random.next()),
            clock: SimulationClock(seed: random.next()), random: random.fork())
        let recorder = CrashRecorder(session, spacing: 1, random: random.fork(), keepsAll: true)
        defer {
            session.close()
            tally.add(session.tally)
        }
        do throws(Violation) {
            recorder.attach()
            try session.openAndJudge(.everything)
            let workload = Workload(session: session)
            let operations: [Workload.Operation] = [
                .appendFew, .appendWithRegister, .createCursor, .retry, .confirm, .appendLarge,
                .appendLarge, .appendLarge, .appendLarge, .appendFew,
            ]
            for operation in operations {
                try workload.perform(operation)
                try session.checkLive()
            }
            if maintains {
                session.maintainUntilIdle(prepares: false)
                try workload.confirmAll()
                session.clock.advance(milliseconds: 60_001)
                session.maintainUntilIdle()
                try workload.perform(.appendFew)
                try session.checkLive()
            }
            for point in recorder.takePoints() { try explore(point) }
            return nil
        } catch {
            return SimulationFailure(seed: 0, sentence: error.sentence)
        }
    }

    private mutating func explore(_ point: CrashPoint) throws(Violation) {
        callCount += 1
        let image = point.image
        let units = Self.units(image)
        try judge(image, point, "killed")
        let whole: [[Range<Int>]] = units.map { [0..<Self.byteCount($0, image)] }
        try judge(Self.build(image, units) { _ in [] }, point, "nothing arrived")
        try judge(Self.build(image, units) { whole[$0] }, point, "all arrived")
        for (number, unit) in units.enumerated() {
            try judge(
                Self.build(image, units) { $0 == number ? [] : whole[$0] }, point,
                "all but \(number) arrived")
            try judge(
                Self.build(image, units) { $0 == number ? whole[$0] : [] }, point,
                "only \(number) arrived")
            let pieces = Self.pieces(Self.byteCount(unit, image))
            guard case .write = unit, pieces.count > 1 else { continue }
            for missing in pieces.indices {
                let rest = pieces.indices.filter { $0 != missing }.map { pieces[$0] }
                try judge(
                    Self.build(image, units) { $0 == number ? rest : whole[$0] }, point,
                    "all but piece \(missing) of \(number) arrived")
                try judge(
                    Self.build(image, units) { $0 == number ? rest : [] }, point,
                    "only \(number) without its piece \(missing) arrived")
            }
        }
    }

    private mutating func judge(_ image: DiskImage, _ point: CrashPoint, _ what: String)
        throws(Violation)
    {
        tally.crashes += 1
        let session = SimulatedSession(
            options: options, disk: SimulatedDisk(image, seed: 1), model: point.model,
            clock: SimulationClock(seed: 1, wallMilliseconds: point.wallMilliseconds),
            random: random.fork())
        defer {
            session.close()
            tally.add(session.tally)
        }
        do throws(Violation) { try session.openAndJudge(.everything) } catch {
            throw Violation("before call \(point.call.sentence), \(what): \(error.sentence)")
        }
    }

    // MARK: - States

    private static func units(_ image: DiskImage) -> [Unit] {
        let names = image.unsyncedNames.indices.map { Unit.name($0) }
        let writes = image.files.indices.flatMap { file in
            image.files[file].unsynced.indices.map { Unit.write(file: file, index: $0) }
        }
        return names + writes
    }

    private static func byteCount(_ unit: Unit, _ image: DiskImage) -> Int {
        switch unit {
        case .name: 1
        case .write(let file, let index): image.files[file].unsynced[index].byteCount
        }
    }

    private static func pieces(_ byteCount: Int) -> [Range<Int>] {
        let ends = splits.filter { $0 < byteCount } + [byteCount]
        return zip([0] + ends, ends).map { $0..<$1 }
    }

    private static func build(_ image: DiskImage, _ units: [Unit], _ selection: Selection)
        -> DiskImage
    {
        var result = image
        for (number, unit) in units.enumerated() {
            for range in selection(number) {
                switch unit {
                case .name(let index):
                    result.apply(image.unsyncedNames[index], to: \.durableNames)
                case .write(let file, let index):
                    let write = image.files[file].unsynced[index]
                    PowerCut.apply(
                        write,
                        write.position + range.lowerBound..<write.position + range.upperBound,
                        to: &result.files[file].device)
                }
            }
        }
        result.names = result.durableNames
        result.unsyncedNames = []
        for file in result.files.indices {
            result.files[file].cache = result.files[file].device
            result.files[file].unsynced = []
        }
        return result
    }
}
