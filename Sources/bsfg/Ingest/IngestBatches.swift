internal import Dispatch
internal import Facts
internal import Foundation

/// Facts that travel together, with the lines they come from.
struct IngestBatch: Sendable {
    var request: [UInt8]
    var lines: [Int]
}

/// Reads rows and encodes them on a thread of its own, a few batches ahead of the sender: reading
/// may block, and the next batch is ready when the last one is answered.
final class IngestBatches: @unchecked Sendable {
    // The reader and the pending batch belong to the thread; everything else is constant or locks.
    private let reader: RowReader
    private let mapping: RowMapping
    private let stream: String
    private let rowsMaximum: Int
    private let slots: DispatchSemaphore
    private let report: IngestReport
    private let encoder = FactEncoder(
        limits: FactLimits(objectBytes: FactLimits.objectBytesCeiling))
    private var pending: [EncodedFact] = []
    private var pendingLines: [Int] = []
    private var pendingBytes = 0

    /// Far enough below what a batch may take for one more fact of the largest size.
    private static let bytesMaximum = FactLimits.pageBytes - FactLimits.recordBytes
    /// A batch is sent as it is when the input pauses for this long.
    private static let idleMilliseconds = 200

    init(
        reader: RowReader, mapping: RowMapping, stream: String, rowsMaximum: Int, waiting: Int,
        report: IngestReport
    ) {
        self.reader = reader
        self.mapping = mapping
        self.stream = stream
        self.rowsMaximum = rowsMaximum
        self.report = report
        // A semaphore may not be released with less than it began with.
        slots = DispatchSemaphore(value: 0)
        for _ in 0..<waiting { slots.signal() }
    }

    /// Begins to read. `taken` is called for each batch that was answered.
    func start() -> AsyncThrowingStream<IngestBatch, any Error> {
        let (batches, continuation) = AsyncThrowingStream<IngestBatch, any Error>.makeStream()
        Thread.detachNewThread { [self] in
            do throws(RowError) {
                try readAll(continuation)
                continuation.finish()
            } catch {
                continuation.finish(throwing: CommandFailure(.failure, error.sentence))
            }
        }
        return batches
    }

    /// Called when a batch was answered: another may wait.
    func taken() { slots.signal() }

    private func readAll(
        _ continuation: AsyncThrowingStream<IngestBatch, any Error>.Continuation
    ) throws(RowError) {
        reader.whenIdle(milliseconds: Self.idleMilliseconds) { [unowned self] in
            flush(continuation)
        }
        defer { flush(continuation) }
        while true {
            do throws(RowError) {
                guard let row = try reader.next() else { return }
                try add(row)
            } catch {
                guard let line = error.line else { throw error }
                report.read(rows: 1, consumedBytes: nil)
                report.bad(line: line, error.sentence)
            }
            if pending.count == rowsMaximum || pendingBytes > Self.bytesMaximum {
                flush(continuation)
            }
        }
    }

    private func add(_ row: Row) throws(RowError) {
        let submission = try mapping.submission(row)
        let fact: EncodedFact
        do throws(FactError) {
            fact = try encoder.encode(submission)
        } catch {
            throw RowError("\(error.field): \(error.sentence)", line: row.line)
        }
        pending.append(fact)
        pendingLines.append(row.line)
        pendingBytes += fact.storedRecord.count + 128
    }

    private func flush(
        _ continuation: AsyncThrowingStream<IngestBatch, any Error>.Continuation
    ) {
        guard !pending.isEmpty else { return }
        slots.wait()
        report.read(rows: pending.count, consumedBytes: reader.consumedBytes)
        continuation.yield(
            IngestBatch(
                request: AppendRequestWriter.appendFacts(stream: stream, pending),
                lines: pendingLines))
        pending.removeAll(keepingCapacity: true)
        pendingLines.removeAll(keepingCapacity: true)
        pendingBytes = 0
    }
}
