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
        var options = LogOptions(profile: profile, capacityBytes: 64 << 30, segmentBytes: 256 << 20)
        options.compression = .none
        return try Log.open(directory: directory + "/log", options: options)
    }
}

/// Waits until the log has made its spare segments, so that they are not made inside a run: the
/// *prepared* form of a run, asked for by WAL_PREPARE_MIB (what there is to wait for is two segments
/// of 256 MiB).
func prepare(_ log: Log) {
    guard let text = getenv("WAL_PREPARE_MIB"), let wanted = UInt64(String(cString: text)) else {
        return
    }
    let began = nanoseconds()
    while log.statistics().preparedBytes < wanted << 20, nanoseconds() - began < 60_000_000_000 {
        usleep(2000)
    }
}

func nanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
}
