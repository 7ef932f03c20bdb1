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

/// The outcomes of a batch, in its order. A batch of which everything was new takes no memory for
/// them.
public struct AppendOutcomes: RandomAccessCollection, ExpressibleByArrayLiteral, Hashable, Sendable {
    private enum Storage: Sendable {
        case allNew(firstOffset: UInt64, count: Int)
        case each([AppendOutcome])
    }

    private let storage: Storage

    init(firstOffset: UInt64, count: Int) {
        storage = .allNew(firstOffset: firstOffset, count: count)
    }

    /// The outcomes of an array.
    public init(_ outcomes: [AppendOutcome]) { storage = .each(outcomes) }

    /// For comparisons.
    public init(arrayLiteral outcomes: AppendOutcome...) { storage = .each(outcomes) }

    /// 0.
    public var startIndex: Int { 0 }

    /// The number of records of the batch.
    public var endIndex: Int {
        switch storage {
        case .allNew(_, let count): count
        case .each(let outcomes): outcomes.count
        }
    }

    /// What became of a record, by its number in the batch. O(1).
    public subscript(index: Int) -> AppendOutcome {
        switch storage {
        case .allNew(let firstOffset, let count):
            precondition(index >= 0 && index < count, "the batch has \(count) records")
            return .appended(offset: firstOffset + UInt64(index))
        case .each(let outcomes): return outcomes[index]
        }
    }

    /// Whether the outcomes are the same, one by one.
    public static func == (left: AppendOutcomes, right: AppendOutcomes) -> Bool {
        left.elementsEqual(right)
    }

    /// Feeds the outcomes, one by one.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(count)
        for outcome in self { hasher.combine(outcome) }
    }
}

/// The answer to an append, given when everything that it names is durable.
public struct AppendReceipt: Hashable, Sendable {
    /// One for each record, in the batch's order.
    public var outcomes: AppendOutcomes
    /// The epoch that the offsets belong to.
    public var epoch: UInt64
    /// The commit that holds the new records; 0 when there were none.
    public var sequence: UInt64
    /// Used bytes ÷ capacity. Above 1 when more is stored than the capacity says.
    public var fill: Double
    /// One past the last offset that this commit gave.
    public var nextOffset: UInt64
}
