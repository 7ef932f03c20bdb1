package import WriteAheadLog

/// What one kind of a stream's logs (store or forward) may fill, keep and give up.
package struct BufferConfiguration: Sendable, Equatable {
    package enum Compression: String, Sendable, CaseIterable {
        case none, lz4
    }

    /// 30 days in milliseconds (gateway decision 10).
    package static let dedupeHorizonDefaultMilliseconds: Int64 = 30 * 24 * 3600 * 1000

    package var capacityBytes: Int = 1 << 30
    /// Nil: the log chooses.
    package var segmentBytes: Int?
    package var policy: LogPolicy = .standard(StandardPolicy())
    package var retention = RetentionOptions(
        dedupeHorizonMilliseconds: dedupeHorizonDefaultMilliseconds)
    /// What the configuration says of logs that nobody reads; nil: nothing. Profile `silStrict` has to
    /// say it.
    package var isTerminal: Bool?
    package var compression: Compression = .none
    /// How commits become durable.
    package var writing: CommitWriting = .synchronised

    package init() {}

    /// How a log of this kind is opened.
    ///
    /// - Parameter hasReaders: somebody is granted it.
    package func options(hasReaders: Bool, indexBudget: KeyIndexBudget) -> LogOptions {
        var retention = retention
        retention.isTerminal = !hasReaders && (isTerminal ?? (policy.profile == .standard))
        var options = LogOptions(
            policy: policy, capacityBytes: UInt64(capacityBytes),
            segmentBytes: segmentBytes.map { UInt64($0) }, retention: retention)
        options.indexBudget = indexBudget
        options.writing = writing
        return options
    }
}

extension BufferConfiguration.Compression {
    package var block: BlockCompression { self == .lz4 ? .lz4 : .none }
}
