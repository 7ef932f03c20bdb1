/// Appends without waiting for any record: records gather in memory and become durable in the
/// background, in order; `flush` tells when all of them are.
///
/// For telemetry and bulk loads, where a producer counts at the end what it needs to know. Who needs
/// an answer for each record appends batches to the log itself. What was not flushed when the process
/// ends may be lost, as a whole tail and never from the middle.
///
/// Not thread-safe: one producer, one appender. Several may append to one log.
public final class BufferedAppender {
    /// A batch on its way: filled by the producer, then the log's until its completion gives it back.
    private final class Piece: @unchecked Sendable {
        let batch: AppendBatch
        init(_ log: Log) { batch = log.makeBatch(capacityBytes: pieceBytes + 4096) }
    }

    /// What is out and not durable yet, shared with the completions.
    private final class Outstanding: @unchecked Sendable {
        let monitor = Monitor()
        let changed = Monitor.Condition()
        var bytes = 0
        var batchCount = 0
        /// Whether the producer sleeps.
        var isAwaited = false
        var failure: LogError?
        /// To be filled again.
        var idle: [Piece] = []
    }

    /// Records are handed over in pieces of this many bytes: a few blocks.
    private static let pieceBytes = 256 * 1024

    /// Bytes that may be out and not durable before `append` waits.
    public let limitBytes: Int

    private let log: Log
    private let outstanding = Outstanding()
    private var piece: Piece

    /// - Parameter limitBytes: from 256 KiB to 64 MiB; records beyond it wait for the disk.
    public init(_ log: Log, limitBytes: Int = 8 << 20) {
        precondition(
            (BufferedAppender.pieceBytes...64 << 20).contains(limitBytes),
            "an appender's limit is from 256 KiB to 64 MiB")
        self.log = log
        self.limitBytes = limitBytes
        piece = Piece(log)
    }

    /// Takes one record; copies its payload. Blocks while `limitBytes` are out.
    ///
    /// A key that the log holds already is not written again; whether with the same content is not
    /// told.
    ///
    /// - Throws: what failed first since the appender was made, of this record or one before: from
    ///   then on nothing is taken.
    public func append(
        key: Digest256? = nil, content: Digest256? = nil, payload: UnsafeRawBufferPointer
    ) throws(LogError) {
        let batch = piece.batch
        if batch.count > 0, batch.encodedBytes + payload.count > BufferedAppender.pieceBytes {
            try handOver()
        }
        try piece.batch.add(key: key, content: content, payload: payload)
    }

    /// Returns when every record taken so far is durable. Blocks.
    ///
    /// - Throws: what failed first since the appender was made.
    public func flush() throws(LogError) {
        if piece.batch.count > 0 { try handOver() }
        let outstanding = outstanding
        outstanding.monitor.lock()
        defer { outstanding.monitor.unlock() }
        while outstanding.batchCount > 0 { sleep() }
        if let failure = outstanding.failure { throw failure }
    }

    /// Gives the gathered records to the log and goes on with an empty batch.
    private func handOver() throws(LogError) {
        let outstanding = outstanding
        let full = piece
        let bytes = full.batch.encodedBytes
        outstanding.monitor.lock()
        while outstanding.failure == nil, outstanding.bytes > 0,
            outstanding.bytes + bytes > limitBytes
        { sleep() }
        if let failure = outstanding.failure {
            outstanding.monitor.unlock()
            throw failure
        }
        outstanding.bytes += bytes
        outstanding.batchCount += 1
        let next = outstanding.idle.popLast()
        outstanding.monitor.unlock()

        piece = next ?? Piece(log)
        log.append(full.batch) { result in
            outstanding.monitor.withLock {
                outstanding.bytes -= bytes
                outstanding.batchCount -= 1
                if case .failure(let error) = result, outstanding.failure == nil {
                    outstanding.failure = error
                }
                full.batch.removeAll()
                outstanding.idle.append(full)
                if outstanding.isAwaited { outstanding.changed.signal() }
            }
        }
    }

    /// Called and left with the lock.
    private func sleep() {
        outstanding.isAwaited = true
        outstanding.monitor.wait(outstanding.changed)
        outstanding.isAwaited = false
    }
}
