package import WriteAheadLog

/// What a simulation did and found; tallies of several seeds are added up.
package struct SimulationTally: Sendable {
    package var seeds = 0
    /// Seeds with at least 200 operations, 2 rolls, a truncation, a recycled segment and a reopening.
    package var completeSeeds = 0
    package var operations = 0
    /// Crash states that were recovered and judged.
    package var crashes = 0
    /// Those of them that struck while an opening was under way.
    package var crashesDuringRecovery = 0
    package var images = 0
    package var openings = 0
    /// Resting disks that were damaged, opened and judged.
    package var damages = 0
    package var refusals = 0
    package var recordsChecked = 0
    package var keysChecked = 0
    /// Acknowledged records that were missing without a word, within the contract.
    package var lost = 0
    /// Records that nobody had submitted at their offset.
    package var phantom = 0
    /// Newest commits that damage took before anything could prove them: the honest limit.
    package var newestLost = 0
    /// Acknowledged records that a disk lost whose flushes did nothing: outside the contract.
    package var lostToLyingFlush = 0
    package var rolls = 0
    package var truncations = 0
    package var recycledSegments = 0
    package var checkpoints = 0
    package var sealedSegments = 0
    /// Damage that the log declared as lost records, exactly.
    package var declaredGaps = 0
    package var reopenings = 0
    package var rows: [RecoveryRow: Int] = [:]
    package var faults: [DiskFault: Int] = [:]

    package init() {}

    package mutating func add(_ other: SimulationTally) {
        seeds += other.seeds
        completeSeeds += other.completeSeeds
        operations += other.operations
        crashes += other.crashes
        crashesDuringRecovery += other.crashesDuringRecovery
        images += other.images
        openings += other.openings
        damages += other.damages
        refusals += other.refusals
        recordsChecked += other.recordsChecked
        keysChecked += other.keysChecked
        lost += other.lost
        phantom += other.phantom
        newestLost += other.newestLost
        lostToLyingFlush += other.lostToLyingFlush
        rolls += other.rolls
        truncations += other.truncations
        recycledSegments += other.recycledSegments
        checkpoints += other.checkpoints
        sealedSegments += other.sealedSegments
        declaredGaps += other.declaredGaps
        reopenings += other.reopenings
        rows.merge(other.rows) { $0 + $1 }
        faults.merge(other.faults) { $0 + $1 }
    }

    var isComplete: Bool {
        operations >= 200 && rolls >= 2 && truncations >= 1 && recycledSegments >= 1
            && reopenings >= 1
    }

    /// Counts the row by which an opening decided, also where it refused.
    mutating func count(_ opened: Result<Log, LogError>) {
        openings += 1
        switch opened {
        case .success(let log):
            if log.recovery.frameCount > 0 { rows[.acceptedFrame, default: 0] += 1 }
            rows[log.recovery.row, default: 0] += 1
        case .failure(.corrupt(let place)):
            refusals += 1
            guard place.reason.hasPrefix("row ") else { return }
            if let row = RecoveryRow(rawValue: String(place.reason.dropFirst(4).prefix(1))) {
                rows[row, default: 0] += 1
            }
        case .failure: refusals += 1
        }
    }
}
