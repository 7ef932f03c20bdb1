import Glibc
import WriteAheadLog

/// What a run has measured.
struct Measurement {
    var records = 0
    var seconds = 0.0
    var latenciesMicroseconds: [Float] = []

    /// `records<TAB>seconds<TAB>p50_us<TAB>p99_us`
    var line: String {
        func percentile(_ part: Double) -> Double {
            guard !latenciesMicroseconds.isEmpty else { return 0 }
            let sorted = latenciesMicroseconds.sorted()
            return Double(sorted[min(sorted.count - 1, Int(part * Double(sorted.count)))])
        }
        return "\(records)\t\(fixed(seconds, 6))\t\(fixed(percentile(0.5), 1))\t"
            + fixed(percentile(0.99), 1)
    }

    private func fixed(_ value: Double, _ digits: Int) -> String {
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((value * Double(scale)).rounded())
        let rest = String(whole % scale)
        return "\(whole / scale).\(String(repeating: "0", count: digits - rest.count))\(rest)"
    }
}

/// Records of a prepared run at most: what was zero-filled is not left.
private func recordLimit(
    _ subject: Subject, _ records: Records, batchCount: Int, inFlight: Int
) -> Int {
    guard let preparedBytes else { return .max }
    let recordBytes = records[0].count + 96
    guard batchCount == 1 else { return preparedBytes / recordBytes }
    // Of a commit of its own, and of its share of one with all that is in flight.
    let commitBytes = subject.profile == .silStrict ? 4096 + 160 : 160
    return preparedBytes / (recordBytes + commitBytes / inFlight + 32)
}

/// Fills batches with records, each with a key that was never there when keys are asked for. A key is
/// what the caller has (here a number, scattered over 32 bytes as a digest is); the content digest is
/// the SHA-256 of the payload, computed inside the run.
final class Filler {
    private let records: Records
    private let isKeyed: Bool
    private let hash = SHA256Stream()
    private var number: Int
    private let skippedCount: Int
    private let seed = UInt64.random(in: 0...UInt64.max)

    /// - Parameter skippedCount: of records after each filled batch: those of the other callers, so that a
    ///   commit of all of them holds consecutive records, as one writer's does.
    init(_ records: Records, keyed: Bool, from number: Int = 0, skippedCount: Int = 0) {
        self.records = records
        isKeyed = keyed
        self.number = number
        self.skippedCount = skippedCount
    }

    func fill(_ batch: AppendBatch, count: Int) throws(LogError) {
        batch.removeAll()
        for _ in 0..<count { try add(to: batch) }
        number += skippedCount
    }

    func add(to batch: AppendBatch) throws(LogError) {
        try next { (key, content, payload) throws(LogError) in
            try batch.add(key: key, content: content, payload: payload)
        }
    }

    func next(_ body: (Digest256?, Digest256?, UnsafeRawBufferPointer) throws(LogError) -> Void)
        throws(LogError)
    {
        let result = records[number].withUnsafeBytes { payload in
            Result { () throws(LogError) in
                guard isKeyed else { return try body(nil, nil, payload) }
                hash.update(payload)
                try body(key(), hash.finish(), payload)
            }
        }
        number += 1
        try result.get()
    }

    private func key() -> Digest256 {
        var state = seed &+ UInt64(number) &* 4 &* Filler.step
        func word() -> UInt64 {
            state &+= Filler.step
            var word = state
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            return word ^ (word >> 31)
        }
        return withUnsafeBytes(of: (word(), word(), word(), word())) { Digest256(bytes: $0) }
    }

    private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15
}

/// One writer: `batchCount` records, durable, then the next ones (w1 with 1, w3 with 1,000).
func appendOneAfterAnother(
    _ log: Log, _ subject: Subject, _ records: Records, batchCount: Int, seconds: Double
) throws -> Measurement {
    if subject.form == .blocking {
        return try appendBlocking(log, subject, records, batchCount: batchCount, seconds: seconds)
    }
    return try appendInFlight(
        log, subject, records, batchCount: batchCount, inFlight: subject.outstandingBatches,
        seconds: seconds)
}

private func appendBlocking(
    _ log: Log, _ subject: Subject, _ records: Records, batchCount: Int, seconds: Double
) throws -> Measurement {
    guard subject.outstandingBatches == 1 else {
        return try appendOnThreads(
            log, subject, records, batchCount: batchCount, threads: subject.outstandingBatches,
            seconds: seconds)
    }
    let filler = Filler(records, keyed: subject.isKeyed)
    let batch = log.makeBatch(capacityBytes: 1 << 20)
    var measurement = Measurement()
    measurement.latenciesMicroseconds.reserveCapacity(1 << 20)
    let began = nanoseconds()
    let end = began + Int(seconds * 1e9)
    var last = began
    let limit = recordLimit(subject, records, batchCount: batchCount, inFlight: 1)
    while last < end, measurement.records < limit {
        try filler.fill(batch, count: batchCount)
        _ = try log.append(batch)
        let now = nanoseconds()
        measurement.latenciesMicroseconds.append(Float(now - last) / 1000)
        measurement.records += batchCount
        last = now
    }
    measurement.seconds = Double(last - began) / 1e9
    return measurement
}

/// Many appends at once, each told when it is durable (w2: 64 of one record).
func appendInFlight(
    _ log: Log, _ subject: Subject, _ records: Records, batchCount: Int, inFlight: Int,
    seconds: Double
) throws -> Measurement {
    switch subject.form {
    case .blocking:
        try appendOnThreads(
            log, subject, records, batchCount: batchCount, threads: inFlight, seconds: seconds)
    case .completion:
        appendByCompletions(
            log, subject, records, batchCount: batchCount, inFlight: inFlight, seconds: seconds)
    case .tasks:
        appendByTasks(
            log, subject, records, batchCount: batchCount, inFlight: inFlight, seconds: seconds)
    }
}

/// Without keys nothing of a record is computed beside its copy, so one filler serves each lane.
private final class Lane: @unchecked Sendable {
    let batch: AppendBatch
    let filler: Filler
    var latencies: [Float] = []
    var count = 0
    var began = 0
    /// Made once, not for each append.
    var completion: @Sendable (Result<AppendReceipt, LogError>) -> Void = { _ in }

    init(
        _ log: Log, _ subject: Subject, _ records: Records, number: Int, of laneCount: Int,
        batchCount: Int
    ) {
        batch = log.makeBatch(capacityBytes: 4096)
        filler = Filler(
            records, keyed: subject.isKeyed, from: number * batchCount,
            skippedCount: (laneCount - 1) * batchCount)
        latencies.reserveCapacity(1 << 16)
    }

    /// Notes the end of an append at `now`.
    func ended(at now: Int, batchCount: Int) {
        latencies.append(Float(now - began) / 1000)
        count += batchCount
    }
}

private func gathered(_ lanes: [Lane], began: Int) -> Measurement {
    Measurement(
        records: lanes.reduce(0) { $0 + $1.count }, seconds: Double(nanoseconds() - began) / 1e9,
        latenciesMicroseconds: lanes.flatMap(\.latencies))
}

private func appendOnThreads(
    _ log: Log, _ subject: Subject, _ records: Records, batchCount: Int, threads: Int,
    seconds: Double
) throws -> Measurement {
    final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }
    let lanes = (0..<threads).map {
        Lane(log, subject, records, number: $0, of: threads, batchCount: batchCount)
    }
    let began = nanoseconds()
    let end = began + Int(seconds * 1e9)
    let limit =
        recordLimit(subject, records, batchCount: batchCount, inFlight: threads) / threads
    let handles = lanes.map { lane in
        var handle = pthread_t()
        let body = Body {
            while true {
                lane.began = nanoseconds()
                guard lane.began < end, lane.count < limit else { return }
                do {
                    try lane.filler.fill(lane.batch, count: batchCount)
                    _ = try log.append(lane.batch)
                } catch { fail("append: \(error)") }
                lane.ended(at: nanoseconds(), batchCount: batchCount)
            }
        }
        pthread_create(
            &handle, nil,
            {
                Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(body).toOpaque())
        return handle
    }
    for handle in handles { pthread_join(handle, nil) }
    return gathered(lanes, began: began)
}

/// Each completion appends its lane's next batch, which so joins the next commit.
private func appendByCompletions(
    _ log: Log, _ subject: Subject, _ records: Records, batchCount: Int, inFlight: Int,
    seconds: Double
) -> Measurement {
    let lanes = (0..<inFlight).map {
        Lane(log, subject, records, number: $0, of: inFlight, batchCount: batchCount)
    }
    let running = Countdown(inFlight)
    let began = nanoseconds()
    let end = began + Int(seconds * 1e9)
    let limit =
        recordLimit(subject, records, batchCount: batchCount, inFlight: inFlight) / inFlight
    for lane in lanes {
        lane.completion = { [unowned lane] result in
            if case .failure(let error) = result { fail("append: \(error)") }
            let now = nanoseconds()
            lane.ended(at: now, batchCount: batchCount)
            next(lane, now)
        }
        next(lane, nanoseconds())
    }

    @Sendable func next(_ lane: Lane, _ now: Int) {
        guard now < end, lane.count < limit else { return running.down() }
        lane.began = now
        do { try lane.filler.fill(lane.batch, count: batchCount) } catch { fail("batch: \(error)") }
        log.append(lane.batch, completion: lane.completion)
    }
    running.wait()
    return gathered(lanes, began: began)
}

private func appendByTasks(
    _ log: Log, _ subject: Subject, _ records: Records, batchCount: Int, inFlight: Int,
    seconds: Double
) -> Measurement {
    let lanes = (0..<inFlight).map {
        Lane(log, subject, records, number: $0, of: inFlight, batchCount: batchCount)
    }
    let running = Countdown(inFlight)
    let began = nanoseconds()
    let end = began + Int(seconds * 1e9)
    let limit =
        recordLimit(subject, records, batchCount: batchCount, inFlight: inFlight) / inFlight
    let executor = AppendExecutor(log)
    for lane in lanes {
        Task.detached(executorPreference: executor) {
            while true {
                lane.began = nanoseconds()
                guard lane.began < end, lane.count < limit else { return running.down() }
                do {
                    try lane.filler.fill(lane.batch, count: batchCount)
                    _ = try await log.append(lane.batch)
                } catch { fail("append: \(error)") }
                lane.ended(at: nanoseconds(), batchCount: batchCount)
            }
        }
    }
    running.wait()
    return gathered(lanes, began: began)
}

/// No sync is waited for: a queue of 8 MiB in memory; the clock stops when the last record is durable.
func appendBuffered(_ log: Log, _ subject: Subject, _ records: Records, seconds: Double) throws
    -> Measurement
{
    let appender = BufferedAppender(log)
    let filler = Filler(records, keyed: subject.isKeyed)
    var measurement = Measurement()
    measurement.latenciesMicroseconds.reserveCapacity(1 << 24)
    let began = nanoseconds()
    let end = began + Int(seconds * 1e9)
    var last = began
    let limit = recordLimit(subject, records, batchCount: 1000, inFlight: 1)
    while last < end, measurement.records < limit {
        try filler.next { (key, content, payload) throws(LogError) in
            try appender.append(key: key, content: content, payload: payload)
        }
        let now = nanoseconds()
        measurement.latenciesMicroseconds.append(Float(now - last) / 1000)
        measurement.records += 1
        last = now
    }
    try appender.flush()
    measurement.seconds = Double(nanoseconds() - began) / 1e9
    return measurement
}

/// Lets one thread wait for many ends.
private final class Countdown: @unchecked Sendable {
    private var mutex = pthread_mutex_t()
    private var condition = pthread_cond_t()
    private var count: Int

    init(_ count: Int) {
        self.count = count
        pthread_mutex_init(&mutex, nil)
        pthread_cond_init(&condition, nil)
    }

    func down() {
        pthread_mutex_lock(&mutex)
        count -= 1
        if count == 0 { pthread_cond_signal(&condition) }
        pthread_mutex_unlock(&mutex)
    }

    func wait() {
        pthread_mutex_lock(&mutex)
        while count > 0 { pthread_cond_wait(&condition, &mutex) }
        pthread_mutex_unlock(&mutex)
    }
}
