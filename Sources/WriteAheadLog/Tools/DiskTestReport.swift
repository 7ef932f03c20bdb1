/// What `DiskTest` found in a directory.
package struct DiskTestReport: Hashable, Sendable {
    /// How long writes took until they were durable, in nanoseconds.
    package struct Latency: Hashable, Sendable {
        package var count: Int
        package var median: Int64
        package var percentile99: Int64
        package var greatest: Int64

        /// - Parameter samples: not empty, in any order.
        init(_ samples: [Int64]) {
            let sorted = samples.sorted()
            count = sorted.count
            median = sorted[sorted.count / 2]
            percentile99 = sorted[min(sorted.count - 1, sorted.count * 99 / 100)]
            greatest = sorted[sorted.count - 1]
        }
    }

    /// What was seen that a device which keeps its word would not show. Never a proof: that takes
    /// power to be pulled.
    package enum Suspicion: Hashable, Sendable {
        /// The median flush is shorter than a volatile cache can be emptied in.
        case fasterThanACache(medianNanoseconds: Int64, leastNanoseconds: Int64)
        /// The median flush is shorter than a rotating disk needs to reach a sector.
        case fasterThanRotation(medianNanoseconds: Int64, leastNanoseconds: Int64)
        /// Nothing below the file system survives power loss, or nothing that the kernel shows.
        case noDevice
        /// A write that was cut short was not told as one.
        case shortWriteHidden
        /// Writes were taken for which there was no room: the flush failed.
        case roomPromised
    }

    package var directory: String
    package var freeBytes: UInt64
    package var logicalBlockBytes: UInt32
    package var physicalBlockBytes: UInt32
    package var device: BlockDevice?
    package var writeBytes: Int
    package var synchronised: Latency
    /// nil where the file system has no O_DIRECT.
    package var direct: Latency?
    package var reportsShortWrites: Bool
    /// Whether the write that found no room said so, and not a later flush; nil when the file system
    /// was not filled.
    package var reportsNoSpace: Bool?
    package var suspicions: [Suspicion]
    /// How a log is faster here.
    package var recommended: CommitWriting
}

extension DiskTestReport.Suspicion {
    /// What was seen and what it may mean, in one sentence.
    package var sentence: String {
        switch self {
        case .fasterThanACache(let median, let least):
            "half of all flushes took less than \(median / 1000) µs, and a volatile cache is hardly "
                + "emptied in \(least / 1000) µs: the device, a controller or the hypervisor may "
                + "answer before the bytes are safe, unless its cache is protected against power loss"
        case .fasterThanRotation(let median, let least):
            "half of all flushes took less than \(median / 1000) µs, and a rotating disk hardly "
                + "reaches a sector in \(least / 1000) µs: it may answer from a cache, which is safe "
                + "only behind a battery"
        case .noDevice:
            "there is no block device below this directory that the kernel shows: on a tmpfs nothing "
                + "survives power loss, on a network or copy-on-write file system ask its server or pool"
        case .shortWriteHidden:
            "a write that was cut short was not told as one: the log cannot notice a full or failing "
                + "disk here"
        case .roomPromised:
            "writes were taken for which there was no room, and the flush failed: storage below is "
                + "thin, and a commit can fail here for want of room, which stops the log until it is "
                + "opened again"
        }
    }
}
