import Synchronization

@testable import WriteAheadLog

/// A frame as it lies in a segment's file.
struct FrameOnDisk {
    var position: Int
    /// Where its padding ends.
    var end: Int
    var header: FrameHeader
    var body: [UInt8]
}

/// The frames of a segment file from its front on, up to the first place where none verifies.
func framesOnDisk(_ bytes: [UInt8]) throws -> [FrameOnDisk] {
    try bytes.withUnsafeBytes { buffer in
        let header = try SegmentHeader(buffer)
        var position = Int(header.firstFramePosition)
        var found: [FrameOnDisk] = []
        while position < buffer.count,
            let frame = try? FrameHeader(
                UnsafeRawBufferPointer(rebasing: buffer[position...]), salt: header.salt,
                position: UInt64(position), commitBytesMaximum: Int(header.commitBytesMaximum))
        {
            let end = Int(FrameAlignment.end(of: frame.frameBytes, at: UInt64(position), header))
            let bodyStart = position + FormatLimits.frameHeaderBytes
            found.append(
                FrameOnDisk(
                    position: position, end: end, header: frame,
                    body: Array(buffer[bodyStart..<position + frame.frameBytes])))
            position = end
        }
        return found
    }
}

/// The blocks of a frame's body: their headers and stored bytes, headers included.
func blocks(of frame: FrameOnDisk) throws -> [(header: BlockHeader, bytes: [UInt8])] {
    try frame.body.withUnsafeBytes { body in
        var found: [(header: BlockHeader, bytes: [UInt8])] = []
        var iterator = BlockIterator(body: body)
        while let (header, bytes) = try iterator.next() { found.append((header, Array(bytes))) }
        return found
    }
}

func segmentPath(_ id: UInt64) -> String { logPath + "/" + SegmentHeader.fileName(id: id) }

let manifestPath = logPath + "/" + ManifestLayout.fileName

extension MemoryDisk {
    /// Both slots of each kind, newest first.
    func manifest() throws -> ManifestFile.Contents {
        try ManifestFile(path: manifestPath, file: open(manifestPath, .read)).read()
    }

    /// What stays when nothing unsynced reached the disk.
    func afterWorstPowerCut() -> MemoryDisk {
        var chance = NothingSurvives()
        return afterPowerCut(using: &chance)
    }
}

/// Draws the old bytes of every sector and the old name of every file.
private struct NothingSurvives: RandomNumberGenerator {
    mutating func next() -> UInt64 { .max }
}

/// Remembers calls of a disk in order.
final class CallList: Sendable {
    private let calls = Mutex<[MemoryDisk.Call]>([])

    var all: [MemoryDisk.Call] { calls.withLock { $0 } }

    func take(_ call: MemoryDisk.Call) { calls.withLock { $0.append(call) } }

    func removeAll() { calls.withLock { $0 = [] } }

    /// Listens to everything that a disk is asked for.
    func listen(to disk: MemoryDisk) {
        disk.setHook { [self] call in
            take(call)
            return nil
        }
    }
}

/// Something that a hook sets and a test reads.
final class Noted<Value: Sendable>: Sendable {
    private let stored: Mutex<Value>

    init(_ value: Value) { stored = Mutex(value) }

    var value: Value { stored.withLock { $0 } }

    func change(_ body: (inout Value) -> Void) { stored.withLock { body(&$0) } }
}

/// An unkeyed batch of so many records.
func plainBatch(_ count: Int, bytes: Int = 100) throws -> AppendBatch {
    let batch = AppendBatch()
    for number in 0..<count { try batch.add(payload: payload(number, bytes: bytes)) }
    return batch
}

/// A retry that need not carry the same bytes: key and content decide.
func keyedRecord(_ key: String, content: String, bytes: Int = 20) throws -> AppendBatch {
    let batch = AppendBatch()
    try batch.add(
        key: digest(key), content: digest(content), payload: payload(0, bytes: bytes))
    return batch
}

extension StillLog {
    static func options(
        _ profile: Profile = .standard, whenFull: StandardPolicy.WhenFull = .reject,
        unconfirmedLifetimeMilliseconds: Int64? = nil, _ retention: RetentionOptions = .init()
    ) -> LogOptions {
        LogOptions(
            policy: profile == .silStrict
                ? .silStrict(StrictPolicy())
                : .standard(
                    StandardPolicy(
                        whenFull: whenFull,
                        unconfirmedLifetimeMilliseconds: unconfirmedLifetimeMilliseconds)),
            capacityBytes: 16 << 20, segmentBytes: 1 << 20, retention: retention)
    }

    var table: SegmentTable {
        get throws { try disk.manifest().tables[0] }
    }
}

/// What an append is answered when it is refused, nil when it is taken.
func refusal(_ body: () throws -> Void) -> LogError? {
    do { try body() } catch { return error as? LogError }
    return nil
}
