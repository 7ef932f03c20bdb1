import Glibc
import WriteAheadLog

/// Appends batches of 1,000 new keys until so many million are retained, and prints at 1, 10, 100
/// million what one costs: processor time and reading of key runs, syncs excluded.
///
///     KeyCurve DIR MILLIONS
///
/// Twice for each number: as the keys come at full speed, some 500,000 a second, when the runs of the last
/// seconds wait to be merged; and 400 batches after the merging had time to end, as where keys come more slowly.
@main
enum KeyCurve {
    static let batchCount = 1000
    static let payloadBytes = 16
    /// What a median is taken of.
    static let measuredBatches = 400

    static func main() throws {
        guard CommandLine.arguments.count == 3, let millions = Int(CommandLine.arguments[2]),
            (1...1000).contains(millions)
        else {
            print("usage: KeyCurve DIR MILLIONS")
            exit(64)
        }
        let log = try Log.open(
            directory: CommandLine.arguments[1],
            options: LogOptions(capacityBytes: 96 << 30, segmentBytes: 256 << 20))
        var curve = KeyCurveRun(log)
        for mark in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] where mark <= millions {
            let target = mark * 1_000_000
            try curve.append(to: target - measuredBatches * batchCount)
            curve.report("at full speed")
            curve.settle()
            try curve.append(to: target)
            curve.report("with runs merged")
        }
        log.close()
    }

    static func fill(_ batch: AppendBatch, from first: Int) throws {
        var payload = [UInt8](repeating: 0, count: payloadBytes)
        for number in first..<first + batchCount {
            withUnsafeBytes(of: number.littleEndian) { payload.replaceSubrange(0..<8, with: $0) }
            try batch.add(
                key: scattered(UInt64(number)), content: scattered(~UInt64(number)),
                payload: payload)
        }
    }

    /// A value as evenly spread as a SHA-256, without the cost of one.
    static func scattered(_ number: UInt64) -> Digest256 {
        var words: [UInt64] = []
        var state = number
        for _ in 0..<4 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = state
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            words.append(word ^ (word >> 31))
        }
        return words.withUnsafeBytes { Digest256(bytes: $0) }
    }

    static func now(_ clock: clockid_t) -> Int {
        var time = timespec()
        clock_gettime(clock, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// The most that the process ever had in memory.
    static func peakResidentMebibytes() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss / 1024
    }
}

struct KeyCurveRun {
    private struct Sample {
        var prepareNanoseconds: Int
        var commitNanoseconds: Int
        var total: Int { prepareNanoseconds + commitNanoseconds }
    }

    private let log: Log
    private let batch = AppendBatch(capacityBytes: 128 * 1024)
    private var number = 0
    private var samples: [Sample] = []

    init(_ log: Log) { self.log = log }

    mutating func append(to end: Int) throws {
        while number < end {
            batch.removeAll()
            try KeyCurve.fill(batch, from: number)
            let began = KeyCurve.now(CLOCK_MONOTONIC)
            let prepared = try log.prepare(batch)
            let prepareNanoseconds = KeyCurve.now(CLOCK_MONOTONIC) - began
            let processor = KeyCurve.now(CLOCK_THREAD_CPUTIME_ID)
            _ = try log.commit(prepared)
            samples.append(
                Sample(
                    prepareNanoseconds: prepareNanoseconds,
                    commitNanoseconds: KeyCurve.now(CLOCK_THREAD_CPUTIME_ID) - processor))
            if samples.count > KeyCurve.measuredBatches { samples.removeFirst() }
            number += KeyCurve.batchCount
        }
    }

    /// Waits until nothing was merged for ten seconds.
    func settle() {
        var before = log.statistics().counters.runsMerged
        repeat {
            sleep(10)
            let now = log.statistics().counters.runsMerged
            if now == before { return }
            before = now
        } while true
    }

    /// The median of the last batches, and the most that the process ever held.
    func report(_ when: String) {
        func median(_ value: (Sample) -> Int) -> Int {
            samples.map(value).sorted()[samples.count / 2] / KeyCurve.batchCount
        }
        let statistics = log.statistics()
        print(
            "keys \(number) ns_per_key \(median(\.total)) lookup \(median(\.prepareNanoseconds))",
            "commit_cpu \(median(\.commitNanoseconds))",
            "peak_resident_mib \(KeyCurve.peakResidentMebibytes())",
            "index_mib \(KeyIndexBudget.shared.heldBytes >> 20)",
            "remembered \(statistics.keyCount) checkpoints \(statistics.counters.checkpoints)",
            "merged \(statistics.counters.runsMerged) (\(when))")
        fflush(nil)
    }
}
