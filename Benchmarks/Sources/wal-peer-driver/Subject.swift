import Glibc
import WriteAheadLog

/// What is measured: a form of append, a profile, with keys or without.
///
///     bsfg | bsfg-blocking | bsfg-completion  [-silstrict]  [-keys]
///
/// `bsfg` is the form for tasks.
struct Subject {
    enum Form: String { case tasks, blocking, completion }

    var form = Form.tasks
    var profile = Profile.standard
    var isKeyed = false
    /// Batches under way at once where a workload appends batches one after the other.
    var outstandingBatches = 1

    init?(name: String) {
        var parts = name.split(separator: "-").map(String.init)
        guard parts.first == "bsfg" else { return nil }
        parts.removeFirst()
        for part in parts {
            switch part {
            case "blocking": form = .blocking
            case "completion": form = .completion
            case "silstrict": profile = .silStrict
            case "keys": isKeyed = true
            case "two": outstandingBatches = 2
            default: return nil
            }
        }
    }

    /// Capacity far above what any run writes, so that no run meets backpressure.
    func open(_ directory: String) throws -> Log {
        var options = LogOptions(profile: profile, capacityBytes: 256 << 30, segmentBytes: 256 << 20)
        if let preparedBytes { options.segmentBytes = UInt64(preparedBytes) + (64 << 20) }
        options.compression = .none
        options.writing = .direct
        if let name = getenv("WAL_WRITING").map({ String(cString: $0) }) {
            guard let writing = CommitWriting(rawValue: name) else {
                fail("WAL_WRITING is direct or synchronised, not \(name)")
            }
            options.writing = writing
        }
        return try Log.open(directory: directory + "/log", options: options)
    }
}

/// The *prepared* form of a run, asked for by WAL_PREPARE_MIB: so much is zero-filled before the clock,
/// and the run ends at the latest when it is full; the log has no segment to make or seal meanwhile.
/// Without it a run is *sustained*: both go on inside.
let preparedBytes: Int? = getenv("WAL_PREPARE_MIB").flatMap { Int(String(cString: $0)) }
    .map { max(64, $0) << 20 }

/// Waits until nothing is being prepared any more.
func prepare(_ log: Log) {
    guard let preparedBytes else { return }
    let began = nanoseconds()
    while log.statistics().preparedBytes < 2 * UInt64(preparedBytes),
        nanoseconds() - began < 60_000_000_000
    { usleep(2000) }
}

func nanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
}
