/// What became of one record of a batch.
public enum AppendOutcome: Hashable, Sendable {
    /// Durable at this offset.
    case appended(offset: UInt64)
    /// A record with this key and content was there before, durable at this offset.
    case existing(offset: UInt64)
    /// A record with this key and other content is there; nothing was written.
    case conflict(offset: UInt64, stored: Digest256)
    /// The caller took it out of the batch.
    case skipped

    /// Where the record is, this one or the one that was there before; nil for one that was skipped.
    public var offset: UInt64? {
        switch self {
        case .appended(let offset), .existing(let offset), .conflict(let offset, _): offset
        case .skipped: nil
        }
    }
}

/// The answer to an append, given when everything that it names is durable.
public struct AppendReceipt: Hashable, Sendable {
    /// One for each record, in the batch's order.
    public var outcomes: [AppendOutcome]
    /// The epoch that the offsets belong to.
    public var epoch: UInt64
    /// The commit that holds the new records; 0 when there were none.
    public var sequence: UInt64
    /// Used bytes ÷ capacity. Above 1 when more is stored than the capacity says.
    public var fill: Double
    /// One past the last offset that this commit gave.
    public var nextOffset: UInt64
}
