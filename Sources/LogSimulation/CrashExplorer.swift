internal import WriteAheadLog

/// A moment in the trace of a session at which the power may go.
struct CrashPoint: Sendable {
    var image: DiskImage
    var model: LogModel
    /// The call that was about to be made.
    var call: DiskCall
    var wallMilliseconds: Int64
}

/// Keeps snapshots of some moments of a session's calls.
final class CrashRecorder {
    private unowned let session: SimulatedSession
    private var random: SimulationRandom
    private(set) var points: [CrashPoint] = []
    /// A reader saw what was not durable.
    private(set) var earlyReader: Violation?
    /// One in so many of the moments at which something is unsynced is kept.
    private let spacing: Int
    private let keepsAll: Bool

    init(
        _ session: SimulatedSession, spacing: Int, random: SimulationRandom, keepsAll: Bool = false
    ) {
        self.keepsAll = keepsAll
        self.session = session
        self.spacing = spacing
        self.random = random
    }

    func attach() {
        session.disk.observe { [unowned self] call, image in see(call, image) }
    }

    /// A commit is being made durable: readers must not see it yet.
    private func lookForEarlyReaders(_ call: DiskCall) {
        guard call.operation == .synchronise, call.path.hasSuffix(".segment"),
            let head = session.log?.headOffset, head > UInt64(session.model.records.count)
        else { return }
        earlyReader = Violation(
            "readers see offset \(head - 1) before call \(call.sentence) made it durable")
    }

    func takePoints() -> [CrashPoint] {
        defer { points.removeAll() }
        return points
    }

    private func see(_ call: DiskCall, _ image: DiskImage) {
        guard call.changesDisk else { return }
        if call.operation == .rename, call.path.hasSuffix(".segment") {
            session.tally.recycledSegments += 1
        }
        lookForEarlyReaders(call)
        // Long runs of zeros into a spare are one moment more or less the same.
        let isZeroFill = call.operation == .write && call.byteCount >= 1 << 18
        let chance: Int
        if image.isSynced {
            chance = spacing * 6
        } else if isZeroFill {
            chance = spacing * 16
        } else {
            chance = call.operation == .write ? spacing * 2 : spacing
        }
        guard keepsAll || random.oneIn(chance) else { return }
        points.append(
            CrashPoint(
                image: image, model: session.model, call: call,
                wallMilliseconds: session.clock.wallMilliseconds))
    }
}

/// Recovers crash images with the real engine and judges them.
struct CrashExplorer {
    let options: LogOptions
    var random: SimulationRandom
    var tally = SimulationTally()
    private let cut: PowerCut

    init(options: LogOptions, random: SimulationRandom) {
        self.options = options
        self.random = random
        cut = PowerCut(garbage: options.profile == .silStrict)
    }

    /// Draws images of a moment and judges each.
    mutating func explore(_ point: CrashPoint, draws: Int) throws(Violation) {
        for number in 0..<draws {
            let isKill = number == 0 && random.oneIn(3)
            let image = isKill ? point.image : cut.draw(from: point.image, using: &random)
            do throws(Violation) {
                try recover(image, point, depth: 0)
            } catch {
                throw Violation(
                    "\(isKill ? "killed" : "power cut") before call \(point.call.sentence): "
                        + error.sentence)
            }
        }
    }

    /// Opens an image, judges it, goes on with it for a while, opens it again.
    private mutating func recover(_ image: DiskImage, _ point: CrashPoint, depth: Int)
        throws(Violation)
    {
        tally.crashes += 1
        if depth > 0 { tally.crashesDuringRecovery += 1 }
        let clock = SimulationClock(seed: random.next(), wallMilliseconds: point.wallMilliseconds)
        let session = SimulatedSession(
            options: options, disk: SimulatedDisk(image, seed: random.next()),
            model: point.model, clock: clock, random: random.fork())
        var duringRecovery: CrashPoint?
        let isCrashedAgain = depth < 2 && random.oneIn(4)
        if isCrashedAgain {
            var left = 1 + random.below(depth == 0 && random.oneIn(3) ? 40 : 10)
            session.disk.observe { call, image in
                guard call.changesDisk else { return }
                left -= 1
                if left == 0 {
                    duringRecovery = CrashPoint(
                        image: image, model: point.model, call: call,
                        wallMilliseconds: point.wallMilliseconds)
                }
            }
        }
        defer { tally.add(session.tally) }
        do throws(Violation) {
            try session.openAndJudge(random.oneIn(8) ? .everything : .sample)
            session.disk.observe(nil)
            if random.oneIn(4) {
                do throws(Violation) { try goOn(session) } catch {
                    throw Violation("after it was recovered and went on: \(error.sentence)")
                }
            }
        } catch {
            session.close()
            throw error
        }
        session.close()
        if let again = duringRecovery {
            do throws(Violation) {
                try recover(cut.draw(from: again.image, using: &random), again, depth: depth + 1)
            } catch {
                throw Violation("and in its recovery before \(again.call.sentence): \(error.sentence)")
            }
        }
    }

    /// A recovered log takes records, gives old keys their old offsets, and is the same when it is
    /// opened again, twice.
    private mutating func goOn(_ session: SimulatedSession) throws(Violation) {
        let workload = Workload(session: session)
        session.maintain(steps: random.below(3))
        for operation in [Workload.Operation.retry, .appendFew, .confirm] {
            try workload.perform(operation)
            try session.checkLive()
        }
        for _ in 0..<2 {
            if random.oneIn(2) {
                session.close()
            } else {
                session.replaceDisk(cut.draw(from: session.abandon(), using: &random))
            }
            try session.openAndJudge(.sample)
        }
    }
}
