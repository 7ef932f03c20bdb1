/// What a record of a prepared batch will become if the batch is committed as it is.
public enum PreparedOutcome: Hashable, Sendable {
    case new
    /// Its key and content stand at this offset; durable by the time the commit answers.
    case existing(offset: UInt64)
    /// Its key stands at this offset with other content.
    case conflict(offset: UInt64, stored: Digest256)
    /// The same key and content as an earlier record of this batch.
    case duplicate(of: Int)
    /// The same key as an earlier record of this batch, with other content.
    case conflictWithin(of: Int)
}

/// A batch whose keys are reserved: nobody else can append them until it is committed or dropped. It
/// gives a caller the moment between knowing what is new and writing it. Not thread-safe.
public final class PreparedBatch {
    enum Disposition {
        case asPrepared
        case skip
        /// An unkeyed record takes the place; the index in `replacements`.
        case replace(Int)
    }

    /// One for each record, in the batch's order.
    public var outcomes: [PreparedOutcome] {
        knownOutcomes ?? .init(repeating: .new, count: batch.count)
    }
    /// Nil when everything is new.
    let knownOutcomes: [PreparedOutcome]?
    let batch: AppendBatch
    let owner: UInt64
    /// The commit that answers about existing records wait for.
    let dependency: CommitGroup?
    private(set) var dispositions: [Disposition]?
    private(set) var replacements: AppendBatch?
    var isFinished = false
    private let release: (PreparedBatch) -> Void

    init(
        batch: AppendBatch, outcomes: [PreparedOutcome]?, owner: UInt64, dependency: CommitGroup?,
        release: @escaping (PreparedBatch) -> Void
    ) {
        self.batch = batch
        knownOutcomes = outcomes
        self.owner = owner
        self.dependency = dependency
        self.release = release
    }

    deinit { if !isFinished { release(self) } }

    /// Leaves a record out of the commit.
    public func skip(_ index: Int) {
        precondition(!isFinished, "a committed batch cannot change")
        if dispositions == nil {
            dispositions = .init(repeating: .asPrepared, count: batch.count)
        }
        dispositions![index] = .skip
    }

    /// Writes an unkeyed record in the place of one that conflicts.
    ///
    /// - Precondition: the record's outcome is a conflict.
    public func replace(_ index: Int, with payload: [UInt8]) throws(LogError) {
        switch outcomes[index] {
        case .conflict, .conflictWithin: break
        default: preconditionFailure("only a conflicting record can be replaced")
        }
        skip(index)
        if replacements == nil { replacements = AppendBatch() }
        try replacements!.add(payload: payload)
        dispositions![index] = .replace(replacements!.count - 1)
    }
}
