internal import WriteAheadLog

/// Lets a disk damage what is written while a log works, without saying so, on a copy of the disk that
/// is then thrown away; and demands that the next opening finds it.
struct FaultExplorer {
    let options: LogOptions
    var random: SimulationRandom
    var tally = SimulationTally()

    init(options: LogOptions, random: SimulationRandom) {
        self.options = options
        self.random = random
    }

    mutating func explore(_ point: CrashPoint) throws(Violation) {
        let fault = random.oneIn(5) ? DiskFault.lyingFlush : random.element(DiskFault.silent)
        let session = SimulatedSession(
            options: options, disk: SimulatedDisk(point.image, seed: random.next()),
            model: point.model,
            clock: SimulationClock(seed: random.next(), wallMilliseconds: point.wallMilliseconds),
            random: random.fork())
        defer {
            session.takeFiredFaults()
            session.close()
            tally.add(session.tally)
        }
        do throws(Violation) {
            try session.openAndJudge(.sample)
            session.setFaults([
                FaultTrigger(fault, fault == .lyingFlush ? .always : .call(random.between(1...12)))
            ])
            try work(session)
            try crash(session, fault)
        } catch { throw Violation("after a \(fault.rawValue): \(error.sentence)") }
    }

    private mutating func work(_ session: SimulatedSession) throws(Violation) {
        let workload = Workload(session: session)
        for _ in 0..<random.between(2...10) {
            try workload.step()
            // The log may have found it out by itself.
            if session.isPoisoned { break }
        }
    }

    private mutating func crash(_ session: SimulatedSession, _ fault: DiskFault) throws(Violation) {
        let recorded = session.recordedCount
        let image = PowerCut(garbage: false).draw(from: session.abandon(), using: &random)
        let acknowledged = session.model.records.count
        session.replaceDisk(image)
        tally.damages += 1
        guard case .success(let log) = session.open() else { return }
        guard fault != .lyingFlush else {
            // Nothing can be demanded of a log whose flushes did nothing, except that it says nothing
            // that was never submitted.
            tally.lostToLyingFlush += max(0, acknowledged - Int(log.headOffset))
            return
        }
        try DamageExplorer.judge(
            log, session.model, recordedCount: fault == .misdirectedWrite ? recorded : nil,
            tally: &session.tally)
    }
}
