internal import WriteAheadLog

/// One record as it was submitted.
package struct ModelRecord: Sendable {
    var payload: [UInt8]
    var key: Digest256?
    var content: Digest256?
}

/// What a log should hold, said by the answers that it gave. A value: a crash point keeps its copy.
package struct LogModel: Sendable {
    struct ModelCursor: Hashable {
        var nextOffset: UInt64
        var required: Bool
    }

    /// What is not records. Cursors all belong to one owner and are told by name.
    struct SmallState: Hashable, CustomStringConvertible {
        var registers: [String: [UInt8]] = [:]
        var cursors: [String: ModelCursor] = [:]

        /// Short, for sentences: values by their first bytes.
        var description: String {
            let registers = registers.sorted { $0.key < $1.key }.map {
                "\($0.key) \($0.value.prefix(4).map { String($0, radix: 16) }.joined(separator: " "))"
            }
            let cursors = cursors.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.nextOffset)" }
            return (registers + cursors).joined(separator: ", ")
        }

        /// Below it everything is confirmed by everyone who is waited for; 0 without any.
        var confirmedOffset: UInt64 {
            cursors.values.filter(\.required).map(\.nextOffset).min() ?? 0
        }
    }

    /// What one caller asked for. It is there whole or not at all.
    struct Transaction {
        /// Given when it is submitted.
        fileprivate(set) var number = 0
        var records: [ModelRecord]
        /// The small state once it is done.
        var small: SmallState
    }

    /// By offset, from the log's first day on, acknowledged or found by an opening.
    private(set) var records: [ModelRecord] = []
    private(set) var small = SmallState()
    /// Submitted and not answered, or answered with an unknown outcome, in order.
    private(set) var pending: [Transaction] = []
    /// What the log held at a moment.
    struct Standing {
        var recordCount = 0
        var small = SmallState()
    }

    /// What stood before the newest acknowledged commit: the honest limit of recovery.
    private(set) var beforeNewest = Standing()
    /// Records below it may have been removed, because each was confirmed.
    private(set) var removableOffset: UInt64 = 0
    private var nextNumber = 1
    private var newestSequence: UInt64?

    var projectedSmall: SmallState { pending.last?.small ?? small }

    var projectedCount: Int { pending.reduce(records.count) { $0 + $1.records.count } }

    func projectedRecord(_ offset: Int) -> ModelRecord {
        if offset < records.count { return records[offset] }
        var rest = offset - records.count
        for transaction in pending {
            if rest < transaction.records.count { return transaction.records[rest] }
            rest -= transaction.records.count
        }
        preconditionFailure("offset \(offset) was never submitted")
    }

    /// - Returns: the number that the transaction is told by.
    @discardableResult
    mutating func submit(_ transaction: Transaction) -> Int {
        var transaction = transaction
        transaction.number = nextNumber
        nextNumber += 1
        pending.append(transaction)
        removableOffset = max(removableOffset, transaction.small.confirmedOffset)
        return transaction.number
    }

    /// The first pending transaction is durable.
    ///
    /// - Parameter sequence: of its commit, when others may share that.
    mutating func acknowledge(sequence: UInt64? = nil) {
        let transaction = pending.removeFirst()
        if sequence == nil || sequence != newestSequence {
            beforeNewest = Standing(recordCount: records.count, small: small)
        }
        newestSequence = sequence
        records += transaction.records
        small = transaction.small
    }

    /// A pending transaction left nothing behind.
    mutating func withdraw(_ number: Int) { pending.removeAll { $0.number == number } }

    /// An opening showed that the first `count` pending transactions are there and the rest is not.
    mutating func resolve(_ count: Int) {
        let newest = Standing(recordCount: records.count, small: small)
        for _ in 0..<count { acknowledge() }
        // They may have shared one commit.
        if count > 0 { beforeNewest = newest }
        pending.removeAll()
    }

    /// Damage took the newest transaction, and the log said so or could not know it.
    mutating func loseNewest(recordCount: Int, small: SmallState) {
        records.removeLast(records.count - recordCount)
        self.small = small
        pending.removeAll()
    }

    /// How many records and what small state there are when `count` pending transactions are.
    func outcome(_ count: Int) -> (recordCount: Int, small: SmallState) {
        let recordCount = pending.prefix(count).reduce(records.count) { $0 + $1.records.count }
        return (recordCount, count == 0 ? small : pending[count - 1].small)
    }
}
