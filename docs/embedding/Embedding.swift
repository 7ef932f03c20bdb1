// A program that embeds the log, as docs/embedding.md walks through it. It makes logs in the directory
// that it is given, uses every form of the interface once, and prints what it saw.

import WriteAheadLog

@main
struct Embedding {
    static func main() async throws {
        guard CommandLine.arguments.count == 2 else {
            print("usage: embedding-example DIRECTORY")
            return
        }
        let directory = CommandLine.arguments[1]
        let log = try Log.open(
            directory: "\(directory)/readings", options: LogOptions(capacityBytes: 256 << 20))
        try block(log)
        try await goOn(log)
        try retry(log)
        try read(log)
        log.close()
        try await fillUp("\(directory)/small")
        try beStrict("\(directory)/strict")
    }

    // MARK: - Append

    /// Blocking: durable when it returns.
    static func block(_ log: Log) throws {
        let receipt = try log.append(try one("first"))
        print("blocking: offset \(receipt.outcomes[0].offset!)")
    }

    static func goOn(_ log: Log) async throws {
        // For tasks: the same, without holding a thread.
        let receipt = try await log.append(try one("second"))
        print("async: offset \(receipt.outcomes[0].offset!)")

        // With a completion: for event loops, and for many appends in flight.
        let batch = try one("third")
        let result: Result<AppendReceipt, LogError> = await withCheckedContinuation {
            continuation in
            log.append(batch) { continuation.resume(returning: $0) }
        }
        print("completion: offset \(try result.get().outcomes[0].offset!)")

        // Many tasks that do little but append go on together behind each commit.
        let executor = AppendExecutor(log)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 4..<8 {
                group.addTask(executorPreference: executor) {
                    _ = try await log.append(try one("number \(number)"))
                }
            }
            try await group.waitForAll()
        }
        print("tasks: next offset \(log.headOffset)")
    }

    /// With keys: a retry is recognised, other content under the same key is refused. A batch is one
    /// commit.
    static func retry(_ log: Log) throws {
        let batch = AppendBatch()
        for (key, value) in [("reading-1", "21.5"), ("reading-2", "21.7")] {
            try batch.add(key: digest(key), content: digest(value), payload: Array(value.utf8))
        }
        print("keyed batch: \(try log.append(batch).outcomes.map(text))")
        for value in ["21.5", "99.9"] {
            let again = AppendBatch()
            try again.add(
                key: digest("reading-1"), content: digest(value), payload: Array(value.utf8))
            print("keyed again: \(text(try log.append(again).outcomes[0]))")
        }
    }

    static func text(_ outcome: AppendOutcome) -> String {
        switch outcome {
        case .appended(let offset): "appended at \(offset)"
        case .existing(let offset): "existing at \(offset)"
        case .conflict(let offset, _): "conflict with \(offset)"
        case .skipped: "skipped"
        }
    }

    // MARK: - Read

    static func read(_ log: Log) throws {
        // A reader with a durable place of its own; truncation waits for it.
        try log.createCursor(Cursor(owner: "example", name: "reader"))
        let next = try log.read(from: 0) { record in
            print("read: offset \(record.offset), \(record.payload.count) bytes")
            return true
        }
        let cursor = try log.confirm(owner: "example", name: "reader", nextOffset: next)
        print("confirmed: up to \(cursor.nextOffset) exclusive")

        // Tailing: sleep until there is something at an offset.
        log.append(try one("last")) { _ in }
        guard log.waitForRecords(at: next, timeoutMilliseconds: 10_000) else { return }
        try log.read(from: next) { record in
            print("tail: offset \(record.offset)")
            return true
        }
    }

    // MARK: - A full log

    static func fillUp(_ directory: String) async throws {
        let log = try Log.open(
            directory: directory,
            options: LogOptions(
                capacityBytes: 8 << 20, segmentBytes: 1 << 20,
                retention: RetentionOptions(freeSpaceReserveBytes: 0)))
        defer { log.close() }
        let events = log.events()
        try log.createCursor(Cursor(owner: "example", name: "reader"))
        let refusal = fill(log)
        if case .rejected(.full(let fill, _)) = refusal {
            print("refused: \(fill >= 0.8 ? "at the high watermark" : "early")")
        }
        for await event in events {
            guard case .backpressureClosed = event else { continue }
            print("event: backpressure closed")
            break
        }
        // The reader confirms, and the log takes records again by itself.
        try log.confirm(owner: "example", name: "reader", nextOffset: log.headOffset)
        for await event in events {
            guard case .backpressureOpened = event else { continue }
            print("event: backpressure opened")
            break
        }
        _ = try await log.append(try one("room again"))
        print("taken again")
    }

    /// Appends until the log refuses.
    static func fill(_ log: Log) -> LogError {
        let payload = [UInt8](repeating: 7, count: 64 << 10)
        do throws(LogError) {
            while true {
                let batch = AppendBatch(capacityBytes: payload.count + 128)
                try batch.add(payload: payload)
                _ = try log.append(batch)
            }
        } catch {
            return error
        }
    }

    // MARK: - The safety profile

    static func beStrict(_ directory: String) throws {
        do throws(LogError) {
            _ = try LogPolicy.parse(profile: "sil_strict", whenFull: "drop_oldest")
        } catch {
            print("policy: \(error.sentence)")
        }
        let log = try Log.open(
            directory: directory,
            options: LogOptions(policy: .silStrict(StrictPolicy()), capacityBytes: 256 << 20))
        print("profile: \(log.profile.name)")
        log.close()
    }

    // MARK: - Parts

    static func one(_ text: String) throws(LogError) -> AppendBatch {
        let batch = AppendBatch()
        try batch.add(payload: Array(text.utf8))
        return batch
    }

    /// The log compares 32 bytes; a program takes the SHA-256 of its identifier and of its content.
    static func digest(_ text: String) -> Digest256 {
        let hash = SHA256Stream()
        Array(text.utf8).withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }
}
