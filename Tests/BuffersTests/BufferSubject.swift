import Facts
import Foundation
import Synchronization
import Testing
import WriteAheadLog

@testable import Buffers

/// The realisations that the conformance suite holds to the same words.
enum Realisation: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case memory, log

    var testDescription: String { rawValue }
}

/// One store buffer, one forward buffer and the cursors of the store buffer.
final class BufferSubject: Sendable {
    let store: any StoreBuffer
    let forward: any ForwardBuffer
    let cursors: any CursorTracker
    private let directory: String?
    /// Of the store and of the forward buffer; none in memory.
    let logs: [Log]

    init(_ realisation: Realisation, segmentBytes: UInt64? = nil) throws {
        switch realisation {
        case .memory:
            directory = nil
            logs = []
            let clock = Counter()
            let memory = MemoryBuffer(identifier: [UInt8](repeating: 1, count: 16)) {
                clock.next()
            }
            store = memory
            cursors = memory
            forward = MemoryBuffer(identifier: [UInt8](repeating: 2, count: 16)) { clock.next() }
        case .log:
            let directory = NSTemporaryDirectory() + "buffers-\(UUID().uuidString)"
            self.directory = directory
            let logs = try BufferSubject.open(directory, segmentBytes)
            self.logs = logs
            store = LogStoreBuffer(logs[0])
            cursors = LogCursorTracker(logs[0])
            forward = LogForwardBuffer(logs[1])
        }
    }

    private init(reopened directory: String, _ segmentBytes: UInt64?) throws {
        self.directory = directory
        logs = try BufferSubject.open(directory, segmentBytes)
        store = LogStoreBuffer(logs[0])
        cursors = LogCursorTracker(logs[0])
        forward = LogForwardBuffer(logs[1])
    }

    private static func open(_ directory: String, _ segmentBytes: UInt64?) throws -> [Log] {
        try ["store", "forward"].map { name in
            try Log.open(
                directory: "\(directory)/\(name)",
                options: LogOptions(
                    capacityBytes: (segmentBytes ?? 1 << 20) * 16,
                    segmentBytes: segmentBytes ?? 1 << 20))
        }
    }

    /// Closes the logs and gives `body` the same ones opened again.
    func reopened(_ body: (BufferSubject) async throws -> Void) async throws {
        guard let directory else { preconditionFailure("memory forgets") }
        for log in logs { log.close() }
        try await body(BufferSubject(reopened: directory, nil))
    }

    deinit {
        for log in logs { log.close() }
        if let directory { try? FileManager.default.removeItem(atPath: directory) }
    }
}

/// Milliseconds that go on by ten with every look.
final class Counter: Sendable {
    private let value = Mutex<Int64>(1_000)

    func next() -> Int64 {
        value.withLock { value in
            value += 10
            return value
        }
    }
}

/// A digest that stands for a number.
func digest(_ number: Int) -> Digest { SHA256.hash(Array("\(number)".utf8)) }

func fact(_ key: Int, _ content: Int = 0, bytes: Int = 20) -> KeyedFact {
    KeyedFact(
        key: digest(key), contentDigest: digest(1_000_000 + content),
        storedRecord: [UInt8](repeating: UInt8(truncatingIfNeeded: key), count: bytes))
}

func record(_ key: Int, _ content: Int = 0, bytes: Int = 20) -> ForwardRecord {
    let fact = fact(key, content, bytes: bytes)
    return ForwardRecord(
        key: fact.key, contentDigest: fact.contentDigest, storedRecord: fact.storedRecord)
}

func position(_ offset: UInt64) -> SourcePosition {
    SourcePosition(
        logUUID: [UInt8](repeating: 7, count: 16), epoch: 1, nextOffset: offset,
        digest: offset > 0 ? digest(Int(truncatingIfNeeded: offset)) : nil,
        digestOffset: offset > 0 ? offset - 1 : nil)
}

extension StoreBuffer {
    func append(_ facts: [KeyedFact]) async throws -> PutReceipt {
        try await withCheckedContinuation { continuation in
            append(facts) { continuation.resume(returning: $0) }
        }.get()
    }
}

extension ReadableBuffer {
    /// Offsets and first bytes of a read, and where it ended.
    func scan(from offset: UInt64, count: Int = .max, bytes: Int = .max) throws -> (
        offsets: [UInt64], firstBytes: [UInt8], next: UInt64
    ) {
        var offsets: [UInt64] = []
        var firstBytes: [UInt8] = []
        let next = try read(from: offset, maximumCount: count, maximumBytes: bytes) { record in
            offsets.append(record.offset)
            firstBytes.append(record.payload.first ?? 0)
            return true
        }
        return (offsets, firstBytes, next)
    }
}

/// The kind of the error that `body` ends with, nil when it does not.
func kind(_ body: () throws -> Void) -> BufferError.Kind? {
    do {
        try body()
        return nil
    } catch let error as BufferError {
        return error.kind
    } catch {
        return nil
    }
}
