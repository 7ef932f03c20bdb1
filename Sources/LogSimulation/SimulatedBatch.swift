internal import WriteAheadLog

/// A batch to be appended together with what its records will become.
struct SimulatedBatch {
    enum Relation {
        case new
        /// Key and content of the record at this offset.
        case same(as: Int)
        /// The key of the record at this offset, with other content.
        case conflict(with: Int)
        /// Key and content of an earlier record of this batch.
        case duplicate(of: Int)
        /// The key of an earlier record of this batch, with other content.
        case conflictWithin(Int)
    }

    struct Item {
        var record: ModelRecord
        var relation: Relation
    }

    private(set) var items: [Item] = []

    mutating func add(_ record: ModelRecord, _ relation: Relation) {
        items.append(Item(record: record, relation: relation))
    }

    func encode() -> AppendBatch {
        let batch = AppendBatch()
        for item in items {
            do throws(LogError) {
                try batch.add(
                    key: item.record.key, content: item.record.content,
                    payload: item.record.payload)
            } catch { preconditionFailure("a simulated record is within the limits: \(error)") }
        }
        return batch
    }

    /// What a caller that prepares the batch decides about one of its records.
    enum Disposition {
        case asPrepared
        case skip
        case replace(ModelRecord)
    }

    /// The outcomes that the log must answer with, and the records that it must write.
    func predict(_ model: LogModel, dispositions: [Int: Disposition] = [:]) -> (
        outcomes: [AppendOutcome], written: [ModelRecord]
    ) {
        var outcomes: [AppendOutcome] = []
        var written: [ModelRecord] = []
        for (index, item) in items.enumerated() {
            let next = UInt64(model.projectedCount + written.count)
            switch dispositions[index] ?? .asPrepared {
            case .skip:
                outcomes.append(.skipped)
                continue
            case .replace(let record):
                written.append(record)
                outcomes.append(.appended(offset: next))
                continue
            case .asPrepared: break
            }
            switch item.relation {
            case .new:
                written.append(item.record)
                outcomes.append(.appended(offset: next))
            case .same(let offset): outcomes.append(.existing(offset: UInt64(offset)))
            case .conflict(let offset):
                outcomes.append(
                    .conflict(
                        offset: UInt64(offset), stored: model.projectedRecord(offset).content!))
            case .duplicate(let original):
                outcomes.append(outcomes[original].offset.map { .existing(offset: $0) } ?? .skipped)
            case .conflictWithin(let original):
                outcomes.append(
                    outcomes[original].offset.map {
                        .conflict(offset: $0, stored: items[original].record.content!)
                    } ?? .skipped)
            }
        }
        return (outcomes, written)
    }
}
