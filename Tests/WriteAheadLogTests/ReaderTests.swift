import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("Readers")
struct ReaderTests {
    @Test("reading keeps to its counts and bytes, and says where to go on")
    func bounds() throws {
        let log = try openLog(MemoryDisk())
        for number in 0..<50 { _ = try log.append(oneRecord(payload(number, bytes: 50_000))) }
        #expect(log.statistics().segmentCount > 2)
        var seen: [UInt64] = []
        func read(_ from: UInt64, _ count: Int, _ bytes: Int) throws -> UInt64 {
            seen = []
            return try log.read(from: from, maximumCount: count, maximumBytes: bytes) {
                seen.append($0.offset)
                return true
            }
        }
        #expect(try read(10, 5, .max) == 15 && seen == [10, 11, 12, 13, 14])
        #expect(try read(10, .max, 120_000) == 12 && seen == [10, 11])
        #expect(try read(10, .max, 1) == 11 && seen == [10])
        #expect(try read(50, 5, .max) == 50 && seen == [])
        #expect(try read(0, 0, .max) == 0 && seen == [])
        #expect(throws: LogError.offsetOutOfRange(offset: 51, first: 0, head: 50)) {
            _ = try read(51, 1, 1)
        }
        var stopped = 0
        let next = try log.read(from: 3) { _ in
            stopped += 1
            return stopped < 4
        }
        #expect(next == 7 && stopped == 4)
        log.close()
    }

    @Test("a reader never sees what is not durable")
    func durableOnly() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        _ = try log.append(oneRecord([1]))
        #expect(eventually { spareIsReady(disk) })
        let gate = DiskGate()
        disk.setHook { call in
            if call.path == DecisionTableTests.segment, call.operation == .synchronise {
                gate.pass()
            }
            return nil
        }
        let answers = Answers()
        log.append(try oneRecord([2], key: "k")) { answers.take($0) }
        #expect(eventually { gate.heldCount == 1 })
        #expect(log.headOffset == 1)
        #expect(try contents(log) == [[1]])
        #expect(try log.lookUp(digest("key k")) == nil)
        #expect(!log.waitForRecords(at: 1, timeoutMilliseconds: 20))
        gate.open()
        #expect(log.waitForRecords(at: 1, timeoutMilliseconds: 120_000))
        #expect(try contents(log) == [[1], [2]])
        log.close()
    }

    @Test("a tail follows appends, in order, and ends when the log is closed")
    func tail() throws {
        let log = try openLog(MemoryDisk())
        let seen = Mutex<[UInt64]>([])
        let ended = FaultTests.Flag()
        let reader = EngineThread(name: "tail") {
            var next: UInt64 = 0
            while next < 300, log.waitForRecords(at: next, timeoutMilliseconds: 10_000) {
                next = try! log.read(from: next) { record in
                    seen.withLock { $0.append(record.offset) }
                    return true
                }
            }
            ended.set(true)
        }
        let heads = Mutex<[UInt64]>([])
        let observer = log.observeHead { head in heads.withLock { $0.append(head) } }
        for number in 0..<300 {
            _ = try log.append(oneRecord(payload(number, bytes: number * 40)))
        }
        #expect(eventually { ended.isSet })
        reader.join()
        #expect(seen.withLock { $0 } == (0..<300).map { UInt64($0) })
        log.removeObserver(observer)
        _ = try log.append(oneRecord([1]))
        #expect(heads.withLock { $0 } == (1...300).map { UInt64($0) })

        let waiting = EngineThread(name: "wait") {
            _ = log.waitForRecords(at: 301, timeoutMilliseconds: 60_000)
        }
        usleep(20_000)
        log.close()
        waiting.join()
    }

    @Test("a time finds its first record, over segments and after reopening; time never runs back")
    func byTime() throws {
        let clock = FixedEnvironment(milliseconds: 1000)
        let disk = MemoryDisk()
        var log = try openLog(disk, environment: clock.environment)
        for number in 0..<30 {
            // A clock that is set back in the middle.
            clock.milliseconds.store(
                number == 15 ? 500 : Int64(1000 + number * 10), ordering: .relaxed)
            _ = try log.append(oneRecord(payload(number, bytes: 100_000)))
        }
        for _ in 0..<2 {
            #expect(try log.offset(atOrAfterMilliseconds: 0) == 0)
            #expect(try log.offset(atOrAfterMilliseconds: 1095) == 10)
            #expect(try log.offset(atOrAfterMilliseconds: 1140) == 14)
            #expect(try log.offset(atOrAfterMilliseconds: 1141) == 16)
            #expect(try log.offset(atOrAfterMilliseconds: 1290) == 29)
            #expect(try log.offset(atOrAfterMilliseconds: 1291) == 30)
            log.close()
            clock.milliseconds.store(1, ordering: .relaxed)
            log = try openLog(disk, environment: clock.environment)
        }
        _ = try log.append(oneRecord([1]))
        var last: Int64 = 0
        try log.read(from: 30) { record in
            last = record.appendTimeMilliseconds
            return true
        }
        #expect(last == 1290)
        log.close()
    }

    @Test("damage under a reader is an error that names its place, never other data")
    func damaged() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        for number in 0..<5 { _ = try log.append(oneRecord(payload(number))) }
        var place = 0
        disk.edit(DecisionTableTests.segment) { bytes in
            let frames = stride(from: 4096, to: 65536, by: 8).filter {
                Array(bytes[$0..<$0 + 4]) == Array("BSFF".utf8)
            }
            place = frames[2]
            bytes[place + 190] ^= 4
        }
        var seen = 0
        let result = Result { () throws(LogError) in
            try log.read(from: 0) { _ in
                seen += 1
                return true
            }
        }
        guard case .failure(.corrupt(let corruption)) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(corruption.position == UInt64(place) && seen == 2)
        log.close()
    }

    @Test("an inspector beside a writer sees a prefix, always sound, and disturbs nothing")
    func inspector() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/log"
        // Room for whatever the writer manages meanwhile.
        let options = LogOptions(capacityBytes: 1 << 30, segmentBytes: 1 << 20)
        let log = try Log.open(directory: path, options: options)
        let writing = FaultTests.Flag()
        writing.set(true)
        let writer = EngineThread(name: "writer") {
            var number = 0
            while writing.isSet {
                let batch = AppendBatch()
                for _ in 0..<5 {
                    try! batch.add(payload: payload(number, bytes: number % 7 * 4000))
                    number += 1
                }
                _ = try! log.append(batch)
                // Each look reads all that there is: it must not outgrow the test.
                usleep(5000)
            }
        }
        var previous: UInt64 = 0
        for _ in 0..<12 {
            let before = log.headOffset
            var next: UInt64 = 0
            let information = try LogInspector(directory: path).walk { record in
                #expect(record.offset == next)
                next += 1
            }
            #expect(next == information.headOffset && next >= before && next >= previous)
            previous = next
            let report = try LogInspector(directory: path).verify()
            #expect(report.isSound, "\(report.damage)")
        }
        writing.set(false)
        writer.join()
        #expect(log.statistics().poison == nil)
        log.close()
    }

    @Test("an inspector's end is where it first saw zeros, however far the writer is when it looks again")
    func inspectorOvertaken() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk, environment: .still)
        for number in 0..<3 { _ = try log.append(oneRecord(payload(number))) }
        let inspector = try LogInspector(directory: logPath, disk: disk)
        // Asking for the file's size begins a look for what is not zero; the first time its opening asks.
        let sizes = Atomic<Int>(0)
        disk.setHook { call in
            guard call.operation == .size, call.isSegment,
                sizes.wrappingAdd(1, ordering: .relaxed).newValue == 3
            else { return nil }
            for number in 3..<7 { _ = try? log.append(oneRecord(payload(number, bytes: 150_000))) }
            return nil
        }
        #expect(try inspector.walk().headOffset == 3)
        disk.setHook(nil)
        #expect(sizes.load(ordering: .relaxed) >= 1)
        #expect(try inspector.walk().headOffset == log.headOffset)
        log.close()
    }
}
