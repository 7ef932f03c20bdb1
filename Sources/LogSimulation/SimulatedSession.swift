internal import WriteAheadLog

/// One log on a simulated disk together with the model of what it should hold: carries out
/// operations, checks every answer, and keeps the model.
package final class SimulatedSession {
    static let directory = "/log"
    static let registerNames = ["position", "checkpoint"]

    let options: LogOptions
    let clock: SimulationClock
    private(set) var disk: SimulatedDisk
    private(set) var log: Log?

    /// Records that the state slot has recorded; nil while no log is open.
    var recordedCount: Int? { log.map { Int($0.recordedHeadOffset) } }
    var model: LogModel
    var random: SimulationRandom
    var tally = SimulationTally()
    /// Faults are set: answers may be errors, and an error may end the log's life.
    private(set) var isFaulty = false
    /// An error ended the log's life; it has to be opened again.
    private(set) var isPoisoned = false
    /// What was done, for whoever runs one seed to look at.
    var trace: ((String) -> Void)?

    init(
        options: LogOptions, disk: SimulatedDisk, model: LogModel = LogModel(),
        clock: SimulationClock, random: SimulationRandom
    ) {
        self.options = options
        self.disk = disk
        self.model = model
        self.clock = clock
        self.random = random
    }

    // MARK: - Life

    /// Opens the log on its disk without judging it.
    func open() -> Result<Log, LogError> {
        let opened = Result { () throws(LogError) in
            try Log.open(
                directory: Self.directory, options: options, disk: disk,
                environment: clock.environment)
        }
        tally.count(opened)
        if case .success(let log) = opened { self.log = log }
        isPoisoned = false
        return opened
    }

    /// Opens the log, learns what survived of what was pending, and judges it.
    func openAndJudge(_ depth: Oracle.Depth) throws(Violation) {
        switch open() {
        case .failure(let error): throw Violation("opening is refused: \(error.sentence)")
        case .success(let log):
            do throws(Violation) {
                try resolve(log)
                try Oracle.judge(log, model, depth, using: &random, tally: &tally)
            } catch {
                throw Violation("\(error.sentence) (\(Self.describe(log.recovery)))")
            }
        }
    }

    private static func describe(_ report: RecoveryReport) -> String {
        "row \(report.row.rawValue), \(report.segmentCount) segments, \(report.frameCount) frames, "
            + "end \(report.endFile) at \(report.endPosition), losses \(report.losses), "
            + "manifest \(report.manifestDamage)"
    }

    private func resolve(_ log: Log) throws(Violation) {
        let before = model
        let survivors = try Oracle.survivors(log, model)
        model.resolve(survivors)
        try Oracle.findNoPhantomKeys(log, before.pending.dropFirst(survivors).flatMap(\.records))
    }

    func close() {
        guard let log else { return }
        noteCounters(log)
        log.close()
        self.log = nil
    }

    /// Ends the log's life as a kill does: nothing more is written. What the disk held at that moment
    /// is what the next life finds.
    func abandon() -> DiskImage {
        let image = disk.snapshot
        close()
        return image
    }

    private func noteCounters(_ log: Log) {
        let counters = log.statistics().counters
        tally.rolls += Int(counters.rolls)
        tally.truncations += Int(counters.segmentsRemoved)
        tally.checkpoints += Int(counters.checkpoints)
        tally.sealedSegments += Int(counters.segmentsSealed)
    }

    /// Goes on with another disk, as after a restart of the machine.
    func replaceDisk(_ image: DiskImage) {
        precondition(log == nil, "a log keeps its disk")
        takeFiredFaults()
        disk = SimulatedDisk(image, seed: random.next())
        isFaulty = false
    }

    func setFaults(_ triggers: [FaultTrigger]) {
        noticePoison()
        isFaulty = !triggers.isEmpty
        disk.setFaults(triggers)
    }

    /// Maintenance may have met the fault.
    func noticePoison() {
        if isFaulty, log?.statistics().poison != nil { isPoisoned = true }
    }

    // MARK: - What threads would do

    /// Some steps of the log's own work.
    func maintain(steps: Int) {
        guard let log else { return }
        for _ in 0..<steps {
            switch random.below(8) {
            case 0: log.stepIdle()
            case 1: _ = log.stepPreparer()
            default: _ = log.stepMaintainer()
            }
        }
        noticePoison()
    }

    /// Everything that the log has to do now. The preparer comes last, when there are files that it
    /// can use again.
    ///
    /// - Parameter prepares: whether spares are made too.
    func maintainUntilIdle(prepares: Bool = true) {
        guard let log else { return }
        while log.stepMaintainer() {}
        while prepares, log.stepPreparer() {}
        noticePoison()
    }

    func takeFiredFaults() { tally.faults.merge(disk.firedFaults) { $0 + $1 } }

    func note(_ sentence: @autoclosure () -> String) {
        if let trace { trace(sentence()) }
    }

    // MARK: - Answers

    /// Carries out a change of which the model knows the end, and checks the answer.
    ///
    /// - Parameter mayBeRejected: whether a refusal for this reason is right.
    func perform(
        _ transaction: LogModel.Transaction?,
        mayBeRejected: (RejectionReason) -> Bool = { _ in false },
        _ body: (Log) throws(LogError) -> String?
    ) throws(Violation) {
        guard let log else { preconditionFailure("operations need an open log") }
        let number = transaction.map { model.submit($0) }
        let answer = Result { () throws(LogError) in try body(log) }
        switch answer {
        case .success(let wrong):
            if let wrong { throw Violation(wrong) }
            if transaction != nil { model.acknowledge() }
        case .failure(.rejected(let reason)) where mayBeRejected(reason):
            if let number { model.withdraw(number) }
        case .failure(let error):
            if case .outcomeUnknown = error {} else if let number { model.withdraw(number) }
            if let wrong = wrongRefusal(error) { throw Violation(wrong) }
        }
    }

    /// What is wrong with an error that was answered, nil when it is right.
    func wrongRefusal(_ error: LogError) -> String? {
        switch error {
        case .rejected(let reason):
            guard let log, isRefusalRight(reason, log) else {
                return "rejected without cause: \(reason.sentence)"
            }
        case .outcomeUnknown, .poisoned:
            guard isFaulty else { return "stopped without a fault: \(error.sentence)" }
            isPoisoned = true
        case .disk where isFaulty: break
        default: return "an error without a fault: \(error.sentence)"
        }
        return nil
    }

    private func isRefusalRight(_ reason: RejectionReason, _ log: Log) -> Bool {
        switch reason {
        case .full: !log.statistics().isAcceptingRecords
        case .noSpace, .lowSpace, .indexRebuilding: isFaulty
        default: false
        }
    }

    /// What is cheap to check after every step.
    func checkLive() throws(Violation) {
        guard let log, !isPoisoned else { return }
        guard Int(log.headOffset) == model.records.count, model.pending.isEmpty else {
            throw Violation("the head is \(log.headOffset), not \(model.records.count)")
        }
        guard Oracle.smallState(log) == model.small else {
            throw Violation("cursors and registers are not what was acknowledged")
        }
        guard !isFaulty, model.records.count > Int(log.firstOffset) else { return }
        try Oracle.read(
            log, model, model.records.count - 1..<model.records.count, tally: &tally)
    }
}
