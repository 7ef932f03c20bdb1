package import Facts
package import WriteAheadLog

extension Digest256 {
    init(_ digest: Digest) { self = digest.withUnsafeBytes { Digest256(bytes: $0) } }
}

extension Digest {
    init(_ digest: Digest256) { self = digest.withUnsafeBytes { Digest($0) } }
}

extension BufferError {
    init(_ error: LogError, fill: Double = 0) {
        var fill = fill
        var retryAfterMilliseconds = 0
        let kind: Kind
        switch error {
        case .rejected(.full(let full, let milliseconds)):
            fill = full
            retryAfterMilliseconds = milliseconds
            kind = .full
        case .rejected(.noSpace), .rejected(.lowSpace):
            // Somebody has to make room on the disk.
            retryAfterMilliseconds = 5_000
            kind = .full
        case .rejected(.overloaded), .rejected(.indexRebuilding):
            retryAfterMilliseconds = 1_000
            kind = .busy
        default: kind = BufferError.kind(error)
        }
        self.init(
            kind, error.sentence, fill: fill, retryAfterMilliseconds: retryAfterMilliseconds)
    }

    private static func kind(_ error: LogError) -> Kind {
        switch error {
        case .rejected(.registerMismatch), .epochMismatch: .positionMoved
        case .rejected(.batchTooLarge): .batchTooLarge
        case .rejected: .invalid
        case .outcomeUnknown: .outcomeUnknown
        case .corrupt: .corrupt
        case .offsetOutOfRange(_, let first, let head): .outOfRange(first: first, head: head)
        case .cursorNotFound: .cursorNotFound
        case .cursorExists: .cursorExists
        case .cursorDetached: .cursorDetached
        case .gap(let gap): .gap(BufferGap(gap))
        case .poisoned, .disk, .closed, .locked, .notALog, .profileMismatch,
            .unsupportedFormat:
            .stopped
        }
    }
}

extension BufferGap {
    init(_ gap: Gap) { self.init(offsets: gap.offsets, reasons: gap.reasons.names) }
}

/// What every buffer over a log shares: reading, and the log's cursors as its tracker.
package class LogBuffer: @unchecked Sendable {
    package let log: Log
    private let compression: BlockCompression

    /// - Parameter compression: of the records that are put in from now on.
    package init(_ log: Log, compression: BlockCompression = .none) {
        self.log = log
        self.compression = compression
    }

    fileprivate func batch(payloadBytes: Int, count: Int) -> AppendBatch {
        AppendBatch(capacityBytes: payloadBytes + 96 * count, compression: compression)
    }

    package var identifier: [UInt8] { log.identifier.bytes }
    package var epoch: UInt64 { log.epoch }
    package var firstOffset: UInt64 { log.firstOffset }
    package var headOffset: UInt64 { log.headOffset }
    package var fill: Double { log.statistics().fill }

    package func read(
        from offset: UInt64, maximumCount: Int, maximumBytes: Int,
        _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) -> UInt64 {
        do throws(LogError) {
            return try log.read(
                from: offset, maximumCount: maximumCount, maximumBytes: maximumBytes
            ) { record in
                visit(
                    BufferRecord(
                        offset: record.offset,
                        appendedMilliseconds: record.appendTimeMilliseconds, epoch: record.epoch,
                        contentDigest: record.content.map { Digest($0) },
                        payload: record.payload))
            }
        } catch {
            throw BufferError(error)
        }
    }

    package func offset(atOrAfterMilliseconds time: Int64) throws(BufferError) -> UInt64 {
        do throws(LogError) {
            return try log.offset(atOrAfterMilliseconds: time)
        } catch {
            throw BufferError(error)
        }
    }

    /// Where a durable key stands, and the digest of its content.
    /// Blocks.
    /// - Throws: `busy` while it cannot be told.
    package func find(_ key: Digest) throws(BufferError) -> (offset: UInt64, content: Digest)? {
        do throws(LogError) {
            return try log.lookUp(Digest256(key)).map { ($0.offset, Digest($0.content)) }
        } catch {
            throw BufferError(error)
        }
    }

    package func gaps(in offsets: Range<UInt64>) -> [BufferGap] {
        log.gaps(in: offsets).map { BufferGap($0) }
    }

    package func observeHead(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 {
        log.observeHead(handler)
    }

    package func removeObserver(_ number: UInt64) { log.removeObserver(number) }

    fileprivate func receipt(_ receipt: AppendReceipt) -> PutReceipt {
        PutReceipt(
            outcomes: receipt.outcomes.map { outcome in
                switch outcome {
                case .appended(let offset): .appended(offset: offset)
                case .existing(let offset): .existing(offset: offset)
                case .conflict(let offset, let stored):
                    .conflict(offset: offset, stored: Digest(stored))
                case .skipped: .skipped
                }
            }, epoch: receipt.epoch, fill: receipt.fill)
    }
}

/// A store buffer in a log.
package final class LogStoreBuffer: LogBuffer, StoreBuffer, @unchecked Sendable {
    package func append(
        _ facts: [KeyedFact],
        completion: @escaping @Sendable (Result<PutReceipt, BufferError>) -> Void
    ) {
        do throws(LogError) {
            log.append(try batch(facts)) { [self] result in
                completion(result.map { receipt($0) }.mapError { BufferError($0, fill: fill) })
            }
        } catch {
            completion(.failure(BufferError(error)))
        }
    }

    package func appendUntilConflict(_ facts: [KeyedFact]) throws(BufferError) -> PutReceipt {
        do throws(LogError) {
            let prepared = try log.prepare(try batch(facts))
            let first = prepared.outcomes.firstIndex { outcome in
                switch outcome {
                case .conflict, .conflictWithin: true
                case .new, .existing, .duplicate: false
                }
            }
            if let first {
                for index in (first + 1)..<max(first + 1, facts.count) { prepared.skip(index) }
            }
            return receipt(try log.commit(prepared))
        } catch {
            throw BufferError(error, fill: fill)
        }
    }

    private func batch(_ facts: [KeyedFact]) throws(LogError) -> AppendBatch {
        let batch = batch(
            payloadBytes: facts.reduce(0) { $0 + $1.storedRecord.count }, count: facts.count)
        for fact in facts {
            try batch.add(
                key: Digest256(fact.key), content: Digest256(fact.contentDigest),
                payload: fact.storedRecord)
        }
        return batch
    }
}

/// A forward buffer in a log; its position is a register that changes with the records it covers.
package final class LogForwardBuffer: LogBuffer, ForwardBuffer, @unchecked Sendable {
    static let register = "position"

    package var position: SourcePosition? {
        log.register(LogForwardBuffer.register).flatMap { SourcePosition(register: $0) }
    }

    package func begin(at position: SourcePosition) throws(BufferError) {
        do throws(LogError) {
            try log.setRegisters([
                RegisterUpdate(
                    name: LogForwardBuffer.register, expected: nil, value: position.register)
            ])
        } catch {
            throw BufferError(error)
        }
    }

    package func putIfAbsent(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition,
        replacing: (([ForwardConflict]) throws(BufferError) -> [[UInt8]])?
    ) throws(BufferError) -> PutReceipt {
        let move = RegisterUpdate(
            name: LogForwardBuffer.register, expected: from.register, value: to.register)
        return try put(records, [move], replacing: replacing)
    }

    /// Puts records and changes registers in one commit.
    func put(
        _ records: [ForwardRecord], _ registers: [RegisterUpdate],
        replacing: (([ForwardConflict]) throws(BufferError) -> [[UInt8]])? = nil
    ) throws(BufferError) -> PutReceipt {
        let prepared: PreparedBatch
        do throws(LogError) {
            guard !records.isEmpty else {
                try log.setRegisters(registers)
                return PutReceipt(outcomes: [], epoch: log.epoch, fill: fill)
            }
            let batch = batch(
                payloadBytes: records.reduce(0) { $0 + $1.storedRecord.count },
                count: records.count)
            for record in records {
                try batch.add(
                    key: record.key.map { Digest256($0) },
                    content: record.contentDigest.map { Digest256($0) },
                    payload: record.storedRecord)
            }
            prepared = try log.prepare(batch)
        } catch {
            throw BufferError(error, fill: fill)
        }
        let conflicts = conflicts(prepared, records)
        var replacements: [[UInt8]] = []
        if let first = conflicts.first {
            guard let replacing else {
                throw .conflict(first.index, first.offset ?? 0, first.stored)
            }
            replacements = try replacing(conflicts)
            precondition(replacements.count == conflicts.count, "each conflict has a replacement")
        }
        do throws(LogError) {
            for (conflict, replacement) in zip(conflicts, replacements) {
                try prepared.replace(conflict.index, with: replacement)
            }
            return receipt(try log.commit(prepared, registers: registers))
        } catch {
            throw BufferError(error, fill: fill)
        }
    }

    /// Looked for before anything is written.
    private func conflicts(_ prepared: PreparedBatch, _ records: [ForwardRecord])
        -> [ForwardConflict]
    {
        var conflicts: [ForwardConflict] = []
        for (index, outcome) in prepared.outcomes.enumerated() {
            switch outcome {
            case .new, .existing, .duplicate: continue
            case .conflict(let offset, let stored):
                conflicts.append(
                    ForwardConflict(index: index, offset: offset, stored: Digest(stored)))
            case .conflictWithin(let original):
                conflicts.append(
                    ForwardConflict(
                        index: index, offset: nil, stored: records[original].contentDigest!))
            }
        }
        return conflicts
    }

    package func get(_ key: Digest) throws(BufferError) -> UInt64? { try content(of: key)?.offset }

    package func content(of key: Digest) throws(BufferError) -> (offset: UInt64, content: Digest)? {
        try find(key)
    }
}

extension BufferError {
    static func conflict(_ index: Int, _ offset: UInt64, _ stored: Digest) -> BufferError {
        BufferError(
            .conflict(index: index, offset: offset, stored: stored),
            "a fact with the same key and other content stands at offset \(offset)")
    }
}

extension SourcePosition {
    /// 16 log UUID, u64 epoch, u64 next offset, then u64 offset and 32 bytes of the digest if known;
    /// little-endian.
    var register: [UInt8] {
        var bytes = logUUID
        func append(_ value: UInt64) {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }
        append(epoch)
        append(nextOffset)
        if let digest, let digestOffset {
            append(digestOffset)
            bytes += digest.bytes
        }
        return bytes
    }

    init?(register bytes: [UInt8]) {
        guard bytes.count == 32 || bytes.count == 72 else { return nil }
        func integer(_ position: Int) -> UInt64 {
            bytes.withUnsafeBytes {
                UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            }
        }
        self.init(
            logUUID: Array(bytes[..<16]), epoch: integer(16), nextOffset: integer(24))
        if bytes.count == 72 {
            digestOffset = integer(32)
            digest = Digest(bytes[40...])
        }
    }
}
