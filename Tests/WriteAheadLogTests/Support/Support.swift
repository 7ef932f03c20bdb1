import Glibc
import Synchronization

@testable import WriteAheadLog

/// A generator whose seed a test prints, so that a failure can be run again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// A new seed each run unless BSFG_TEST_SEED says which.
    static func seed(_ name: String) -> UInt64 {
        let given = getenv("BSFG_TEST_SEED").flatMap { UInt64(String(cString: $0)) }
        let seed = given ?? UInt64.random(in: 0..<UInt64(1) << 32)
        print("\(name): seed \(seed)")
        return seed
    }
}

/// A clock that moves only when told, random numbers that come in a known order, and no threads.
final class FixedEnvironment: Sendable {
    let milliseconds: Atomic<Int64>
    private let drawn = Atomic<UInt64>(0)

    init(milliseconds: Int64 = 1_700_000_000_000) { self.milliseconds = .init(milliseconds) }

    var environment: LogEnvironment {
        LogEnvironment(
            wallMilliseconds: { [self] in milliseconds.load(ordering: .relaxed) },
            monotonicNanoseconds: LogEnvironment.linux.monotonicNanoseconds,
            random: { [self] in
                0x1111_1111_1111_1111
                    &* drawn.wrappingAdd(1, ordering: .relaxed).newValue
            }, threads: false)
    }
}

extension LogEnvironment {
    /// The real clock, and no threads: nothing is sealed, merged or removed behind a test's back.
    static let still = LogEnvironment(
        wallMilliseconds: LogEnvironment.linux.wallMilliseconds,
        monotonicNanoseconds: LogEnvironment.linux.monotonicNanoseconds,
        random: LogEnvironment.linux.random, threads: false)
}

let logPath = "/log"

func openLog(
    _ disk: MemoryDisk, _ options: LogOptions = smallLog,
    environment: LogEnvironment = .linux
) throws(LogError) -> Log {
    try Log.open(directory: logPath, options: options, disk: disk, environment: environment)
}

/// A payload of a size that tells its number.
func payload(_ number: Int, bytes: Int = 100) -> [UInt8] {
    let text = Array("record \(number) ".utf8)
    return text + [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: max(0, bytes - text.count))
}

func oneRecord(_ payload: [UInt8], key: String? = nil) throws -> AppendBatch {
    let batch = AppendBatch()
    try batch.add(
        key: key.map { digest("key " + $0) },
        content: key.map { _ in
            digest("content \(payload.count) \(payload.withUnsafeBytes { Checksum.of($0) })")
        },
        payload: payload)
    return batch
}

/// All records as offset and payload.
func contents(_ log: Log) throws -> [[UInt8]] {
    var payloads: [[UInt8]] = []
    try log.read(from: log.firstOffset) { record in
        precondition(record.offset == UInt64(payloads.count), "offsets are dense")
        payloads.append(Array(record.payload))
        return true
    }
    return payloads
}

/// Waits for a condition that another thread brings about.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<30_000 {
        if condition() { return true }
        usleep(2000)
    }
    return condition()
}

/// Collects answers of completions.
final class Answers: Sendable {
    let results = Mutex<[Result<AppendReceipt, LogError>]>([])

    var count: Int { results.withLock { $0.count } }

    func take(_ result: Result<AppendReceipt, LogError>) { results.withLock { $0.append(result) } }
}

/// A blocking append on a thread of its own.
final class BlockingCall: Sendable {
    private let answer = Mutex<Result<AppendReceipt, LogError>?>(nil)

    var result: Result<AppendReceipt, LogError>? { answer.withLock { $0 } }

    init(_ body: @escaping @Sendable () throws -> AppendReceipt) {
        _ = EngineThread(name: "call") { [self] in
            let result = Result { try body() }.mapError { $0 as! LogError }
            answer.withLock { $0 = result }
        }
    }
}

/// Holds up calls that match until it is opened.
final class DiskGate: Sendable {
    private let isOpen = Mutex(false)
    private let held = Mutex(0)

    var heldCount: Int { held.withLock { $0 } }

    func pass() {
        held.withLock { $0 += 1 }
        while !isOpen.withLock({ $0 }) { usleep(500) }
    }

    func open() { isOpen.withLock { $0 = true } }
}

/// Whether the segment after the first stands ready with all its zeros written.
func spareIsReady(_ disk: MemoryDisk) -> Bool {
    disk.byteCount(logPath + "/" + SegmentHeader.fileName(id: 2)) == 1 << 20
}
