import Glibc
import Testing

@testable import WriteAheadLog

/// A directory of a test's own, removed at its end.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/bsfg-test-XXXXXX\0".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit {
        let disk = LinuxDisk()
        for name in (try? disk.list(path)) ?? [] { try? disk.remove(path + "/" + name) }
        rmdir(path)
    }
}

let smallLog = LogOptions(capacityBytes: 64 << 20, segmentBytes: 1 << 20)

func digest(_ text: String) -> Digest256 {
    // Not a SHA-256: the engine compares what it is given.
    var words: (UInt64, UInt64, UInt64, UInt64) = (14_695_981_039_346_656_037, 1, 2, 3)
    for byte in text.utf8 {
        words.0 = (words.0 ^ UInt64(byte)) &* 1_099_511_628_211
        words.1 = words.1 &* 31 &+ words.0
        words.2 ^= words.1 &>> 7
        words.3 = words.3 &+ words.2 &* 17
    }
    return withUnsafeBytes(of: words) { Digest256(bytes: $0) }
}

func batch(_ payloads: [String], keyed: Bool = false) throws -> AppendBatch {
    let batch = AppendBatch()
    for payload in payloads {
        try batch.add(
            key: keyed ? digest("key " + payload) : nil,
            content: keyed ? digest("content " + payload) : nil, payload: Array(payload.utf8))
    }
    return batch
}

func readAll(_ log: Log) throws -> [String] {
    var texts: [String] = []
    try log.read(from: log.firstOffset) { record in
        texts.append(String(decoding: record.payload, as: UTF8.self))
        return true
    }
    return texts
}

@Suite("A log in a directory")
struct LogTests {
    let directory = TemporaryDirectory()

    func open() throws -> Log {
        try Log.open(directory: directory.path + "/log", options: smallLog)
    }

    @Test("records are there after reopening, in order, with dense offsets")
    func reopen() throws {
        var log = try open()
        #expect(log.recovery.created)
        for number in 0..<100 {
            let receipt = try log.append(batch(["record \(number)"]))
            #expect(receipt.outcomes == [.appended(offset: UInt64(number))])
        }
        log.close()
        log = try open()
        #expect(log.recovery.recordCount == 100)
        #expect(log.recovery.decision == .cleanEnd)
        #expect(try readAll(log) == (0..<100).map { "record \($0)" })
        log.close()
    }

    @Test("segments roll and reading goes across them")
    func rolls() throws {
        var log = try open()
        let payload = String(repeating: "x", count: 10_000)
        for number in 0..<400 { _ = try log.append(batch(["\(number) " + payload])) }
        #expect(log.statistics().segmentCount >= 4)
        for _ in 0..<2 {
            let texts = try readAll(log)
            #expect(texts.count == 400)
            #expect(texts[399].hasPrefix("399 "))
            var middle = ""
            try log.read(from: 250, maximumCount: 1) {
                middle = String(decoding: $0.payload, as: UTF8.self)
                return true
            }
            #expect(middle.hasPrefix("250 "))
            log.close()
            log = try open()
        }
        log.close()
    }

    @Test("a retry is answered with the first offset, other content is a conflict")
    func keys() throws {
        var log = try open()
        let first = try log.append(batch(["a", "b"], keyed: true))
        #expect(first.outcomes == [.appended(offset: 0), .appended(offset: 1)])
        for _ in 0..<2 {
            let mixed = try batch(["b", "c", "c", "a"], keyed: true)
            try mixed.add(key: digest("key a"), content: digest("other"), payload: [1])
            let before = log.headOffset
            let receipt = try log.append(mixed)
            let c = receipt.outcomes[1].offset!
            #expect(receipt.outcomes[0] == .existing(offset: 1))
            #expect(receipt.outcomes[2] == .existing(offset: c))
            #expect(receipt.outcomes[3] == .existing(offset: 0))
            #expect(
                receipt.outcomes[4] == .conflict(offset: 0, stored: digest("content a")))
            #expect(c == 2 && log.headOffset == max(before, 3))
            log.close()
            log = try open()
        }
        log.close()
    }

    @Test("64 threads append at once and every offset is given once")
    func concurrent() async throws {
        let log = try open()
        let offsets = try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for writer in 0..<64 {
                group.addTask {
                    var offsets: [UInt64] = []
                    for number in 0..<50 {
                        let receipt = try await log.append(
                            batch(["\(writer) \(number)"], keyed: true))
                        offsets.append(receipt.outcomes[0].offset!)
                    }
                    return offsets
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(offsets.sorted() == (0..<3200).map { UInt64($0) })
        #expect(try readAll(log).count == 3200)
        #expect(log.statistics().counters.commits < 3200)
        log.close()
    }

    @Test("a register changes with its records or not at all")
    func registers() throws {
        var log = try open()
        _ = try log.append(
            batch(["a"]), registers: [RegisterUpdate(name: "p", expected: nil, value: [1])])
        #expect(throws: LogError.rejected(.registerMismatch(name: "p"))) {
            _ = try log.append(
                batch(["b"]), registers: [RegisterUpdate(name: "p", expected: [7], value: [2])])
        }
        #expect(log.headOffset == 1)
        log.close()
        log = try open()
        #expect(log.register("p") == [1])
        try log.setRegisters([RegisterUpdate(name: "p", expected: [1], value: [3])])
        _ = try log.append(
            batch(["c"]), registers: [RegisterUpdate(name: "p", expected: [3], value: [4])])
        log.close()
        log = try open()
        #expect(log.register("p") == [4])
        log.close()
    }

    @Test("a cursor never runs ahead, never goes back, and survives")
    func cursors() throws {
        var log = try open()
        _ = try log.append(batch(["a", "b", "c"]))
        try log.createCursor(Cursor(owner: "o", name: "n"))
        #expect(throws: LogError.self) {
            try log.confirm(owner: "o", name: "n", nextOffset: 4)
        }
        try log.confirm(owner: "o", name: "n", nextOffset: 2)
        try log.confirm(owner: "o", name: "n", nextOffset: 1)
        log.close()
        log = try open()
        #expect(log.cursor(owner: "o", name: "n")?.nextOffset == 2)
        try log.deleteCursor(owner: "o", name: "n")
        log.close()
        log = try open()
        #expect(log.cursors().isEmpty)
        log.close()
    }

    @Test("two openings of one log exclude each other")
    func exclusive() throws {
        let log = try open()
        #expect(throws: LogError.locked(directory: directory.path + "/log")) { _ = try open() }
        log.close()
        try open().close()
    }

    @Test("a prepared batch can replace conflicts and leave records out")
    func prepared() throws {
        let log = try open()
        _ = try log.append(batch(["a"], keyed: true))
        let arriving = AppendBatch()
        try arriving.add(key: digest("key a"), content: digest("other"), payload: [1])
        try arriving.add(key: digest("key b"), content: digest("b"), payload: [2])
        try arriving.add(key: digest("key c"), content: digest("c"), payload: [3])
        let prepared = try log.prepare(arriving)
        #expect(
            prepared.outcomes == [
                .conflict(offset: 0, stored: digest("content a")), .new, .new,
            ])
        try prepared.replace(0, with: Array("notice".utf8))
        prepared.skip(2)
        let receipt = try log.commit(prepared)
        #expect(
            receipt.outcomes == [.appended(offset: 1), .appended(offset: 2), .skipped])
        #expect(try log.lookUp(digest("key c")) == nil)
        #expect(try log.append(batch(["c"], keyed: true)).outcomes == [.appended(offset: 3)])
        log.close()
    }
}
