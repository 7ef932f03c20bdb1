internal import WriteAheadLog

/// One seed: a log's life under a drawn load with faults, closings and restarts, its crashes, and
/// what must hold after each.
struct SeedRun {
    let seed: UInt64
    let settings: SimulationSettings
    private(set) var tally = SimulationTally()
    private var random: SimulationRandom
    private let options: LogOptions
    private let blocks: (logical: UInt32, physical: UInt32)
    private var crashes: CrashExplorer
    private var damages: DamageExplorer
    private var faults: FaultExplorer
    private var trace: ((String) -> Void)?

    init(seed: UInt64, settings: SimulationSettings, trace: ((String) -> Void)? = nil) {
        self.seed = seed
        self.settings = settings
        self.trace = trace
        random = SimulationRandom(seed: seed)
        let isStandard = random.oneIn(2)
        let profile = settings.profile ?? (isStandard ? .standard : .silStrict)
        var options = Self.drawOptions(profile, using: &random)
        // Not drawn: what a seed draws besides stays as it was.
        options.writing = seed.nonzeroBitCount.isMultiple(of: 2) ? .synchronised : .direct
        self.options = options
        blocks = random.element([(512, 512), (512, 4096), (4096, 4096)])
        crashes = CrashExplorer(options: options, random: random.fork())
        damages = DamageExplorer(options: options, random: random.fork())
        faults = FaultExplorer(options: options, random: random.fork())
    }

    private static let retentionMilliseconds: Int64 = 60_000

    /// Small logs, some of which run full, under each policy.
    private static func drawOptions(_ profile: Profile, using random: inout SimulationRandom)
        -> LogOptions
    {
        let high = random.element([0.35, 0.5, 0.8])
        let standard = StandardPolicy(
            whenFull: random.oneIn(2) ? .reject : .dropOldest,
            unconfirmedLifetimeMilliseconds: random.oneIn(3) ? 900_000 : nil)
        return LogOptions(
            policy: profile == .standard ? .standard(standard) : .silStrict(StrictPolicy()),
            capacityBytes: UInt64(random.between(8...14)) << 20, segmentBytes: 1 << 20,
            retention: RetentionOptions(
                highWatermark: high, lowWatermark: high - 0.05,
                retentionMilliseconds: Self.retentionMilliseconds,
                dedupeHorizonMilliseconds: random.oneIn(3) ? 300_000 : 0))
    }

    mutating func run() throws(Violation) {
        let session = SimulatedSession(
            options: options,
            disk: SimulatedDisk(seed: random.next(), blocks: blocks),
            clock: SimulationClock(seed: random.next()), random: random.fork())
        session.trace = trace
        let recorder = CrashRecorder(session, spacing: settings.spacing, random: random.fork())
        defer {
            session.takeFiredFaults()
            session.close()
            for part in [session.tally, crashes.tally, damages.tally, faults.tally] {
                tally.add(part)
            }
            tally.seeds = 1
            tally.completeSeeds = tally.isComplete ? 1 : 0
        }
        recorder.attach()
        try session.openAndJudge(.everything)
        try explore(recorder)
        var older = session.disk.snapshot
        for number in 0..<settings.operations {
            try step(session, number)
            if number % (settings.operations / 3) == settings.operations / 4 {
                try truncate(session)
            }
            if session.isPoisoned || random.oneIn(60) {
                try reopen(session, recorder)
            }
            try explore(recorder)
            if number % 20 == 10, !session.isFaulty {
                let point = resting(session)
                try damages.explore(point, older: older, count: settings.damages)
                older = point.image
            }
            if number % 40 == 30, !session.isFaulty { try faults.explore(resting(session)) }
        }
        session.setFaults([])
        try reopen(session, recorder)
        try Oracle.judge(
            session.log!, session.model, .everything, using: &random, tally: &session.tally)
    }

    private mutating func step(_ session: SimulatedSession, _ number: Int) throws(Violation) {
        let workload = Workload(session: session)
        if session.isFaulty, random.oneIn(8) {
            session.setFaults([])
        } else if !session.isFaulty, random.oneIn(20) {
            let fault = random.element(DiskFault.admitted)
            session.setFaults([FaultTrigger(fault, .call(random.between(1...6)))])
            session.note("from here on there may be a \(fault.rawValue)")
        }
        // Enough bytes for two rolls, whatever is drawn besides.
        if number % (settings.operations / 8) == 5 {
            try workload.perform(.appendLarge)
        } else {
            try workload.step()
        }
        try session.checkLive()
        if random.oneIn(3) {
            session.maintain(steps: random.between(1...4))
            try session.checkLive()
        }
    }

    /// Everyone confirms everything, time passes, and what is confirmed goes; the file is used again.
    private mutating func truncate(_ session: SimulatedSession) throws(Violation) {
        session.setFaults([])
        guard !session.isPoisoned else { return }
        session.note("truncate")
        let workload = Workload(session: session)
        for _ in 0..<4 { try workload.perform(.appendLarge) }
        try workload.confirmAll()
        session.clock.advance(milliseconds: Self.retentionMilliseconds + 1)
        if random.oneIn(2) {
            // Names change here more than anywhere else.
            let fault = random.element([DiskFault.directorySyncError, .nameError])
            session.setFaults([FaultTrigger(fault, .call(random.between(1...3)))])
            session.maintainUntilIdle()
            session.setFaults([])
            // What failed and may be tried again is, a while later.
            session.clock.advance(milliseconds: 2_000)
        }
        session.maintainUntilIdle()
        try session.checkLive()
    }

    /// Ends the log's life in one of three ways and begins the next.
    private mutating func reopen(_ session: SimulatedSession, _ recorder: CrashRecorder)
        throws(Violation)
    {
        session.tally.reopenings += 1
        switch random.below(3) {
        case 0:
            session.note("close")
            session.close()
            try explore(recorder)
            session.replaceDisk(session.disk.snapshot)
        case 1:
            session.note("kill")
            session.replaceDisk(session.abandon())
        default:
            session.note("power cut")
            let cut = PowerCut(garbage: options.profile == .silStrict)
            session.replaceDisk(cut.draw(from: session.abandon(), using: &random))
        }
        // What happened after the last judged moment of the life that ended belongs to no crash.
        _ = recorder.takePoints()
        recorder.attach()
        try session.openAndJudge(random.oneIn(3) ? .everything : .sample)
    }

    private mutating func explore(_ recorder: CrashRecorder) throws(Violation) {
        if let violation = recorder.earlyReader { throw violation }
        for point in recorder.takePoints() {
            tally.images += 1
            try crashes.explore(point, draws: settings.draws)
        }
    }

    /// This moment of a session that waits for nothing.
    private func resting(_ session: SimulatedSession) -> CrashPoint {
        CrashPoint(
            image: session.disk.snapshot, model: session.model,
            call: DiskCall(number: session.disk.callCount, operation: .read, path: ""),
            wallMilliseconds: session.clock.wallMilliseconds)
    }
}
