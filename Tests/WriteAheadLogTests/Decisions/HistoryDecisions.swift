import Synchronization
import Testing

@testable import WriteAheadLog

/// Epochs that an operator begins, cursors that are put back, and the mark of a halted log.
@Suite("Decisions: histories")
struct HistoryDecisions {
    private func isEpochMismatch(_ body: () throws(LogError) -> Void) -> Bool {
        do throws(LogError) { try body() } catch {
            if case .epochMismatch = error { return true }
        }
        return false
    }

    @Test("gateway decision 7: a new epoch begins at the head, survives any power cut, and its records say so")
    func newEpoch() throws {
        let seed = SeededGenerator.seed("newEpoch")
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(plainBatch(5, bytes: 300))
        let images = Noted<[MemoryDisk]>([])
        let disk = still.disk
        disk.setHook { call in
            guard call.operation == .synchronise else { return nil }
            var chance = SeededGenerator(seed: seed &+ UInt64(call.number))
            for _ in 0..<25 {
                let image = disk.afterPowerCut(using: &chance)
                images.change { $0.append(image) }
            }
            return nil
        }
        let begun = try still.log.beginEpoch(reason: "restored")
        disk.setHook(nil)
        #expect(begun.epoch == 2 && begun.firstOffset == 5 && begun.reason == "restored")
        #expect(still.log.epoch == 2 && still.log.epochs.count == 2)
        _ = try still.log.append(plainBatch(2, bytes: 300))
        // Either the one or the other, and the records of before are there.
        var found: Set<UInt64> = []
        for image in images.value {
            let log = try openLog(image, still.options)
            #expect(log.headOffset == 5, "seed \(seed)")
            found.insert(log.epoch)
            log.close()
        }
        #expect(found == [1, 2], "seed \(seed)")
        let log = try openLog(still.disk.afterWorstPowerCut(), still.options)
        #expect(log.epoch == 2)
        var epochs: [UInt64] = []
        try log.read(from: 0) { record in
            epochs.append(record.epoch)
            return true
        }
        #expect(epochs == [1, 1, 1, 1, 1, 2, 2])
        log.close()
    }

    @Test("decision 14: a confirm of another epoch is refused, and a cursor is put back only in the present one")
    func confirmsOfAnEpoch() throws {
        let still = try StillLog(StillLog.options())
        let log = still.log
        _ = try log.append(plainBatch(10, bytes: 100))
        try log.createCursor(Cursor(owner: "o", name: "c"))
        try log.confirm(owner: "o", name: "c", nextOffset: 6, epoch: 1)
        try log.beginEpoch(reason: "restored")
        #expect(
            isEpochMismatch { () throws(LogError) in
                try log.confirm(owner: "o", name: "c", nextOffset: 8, epoch: 1)
            })
        #expect(log.cursor(owner: "o", name: "c")?.nextOffset == 6)
        var cursor = try #require(log.cursor(owner: "o", name: "c"))
        cursor.nextOffset = 3
        #expect(isEpochMismatch { () throws(LogError) in try log.replaceCursor(cursor) })
        cursor.epoch = 2
        cursor.receiver = LogIdentifier(bytes: [UInt8](repeating: 9, count: 16))
        try log.replaceCursor(cursor)
        let again = try openLog(still.disk.afterWorstPowerCut(), still.options)
        #expect(again.cursor(owner: "o", name: "c") == cursor)
        again.close()
        cursor.nextOffset = 11
        #expect(throws: LogError.self) { try log.replaceCursor(cursor) }
        cursor.name = "other"
        #expect(throws: LogError.self) { try log.replaceCursor(cursor) }
    }

    @Test("gateway decision 7: an epoch that is begun offline removes nothing, however old the log is")
    func offline() throws {
        let environment = FixedEnvironment()
        let disk = MemoryDisk()
        let log = try openLog(disk, environment: environment.environment)
        for _ in 0..<6 { _ = try log.append(plainBatch(20, bytes: 15_000)) }
        try log.createCursor(Cursor(owner: "o", name: "c"))
        log.close()
        // Ten years later: by the defaults everything unconfirmed would have expired long ago.
        environment.milliseconds.add(10 * 365 * 24 * 3_600_000, ordering: .relaxed)
        let begun = try Log.beginEpoch(
            directory: logPath, profile: .standard, reason: "restored", disk: disk,
            environment: environment.environment)
        #expect(begun.epoch == 2 && begun.firstOffset == 120)
        let again = try openLog(disk, environment: environment.environment)
        #expect(again.epoch == 2 && again.firstOffset == 0 && again.headOffset == 120)
        again.close()
        #expect(throws: LogError.self) {
            try Log.beginEpoch(
                directory: logPath, profile: .silStrict, reason: "restored", disk: disk,
                environment: environment.environment)
        }
    }

    @Test("gateway decision 7: the oldest epoch is forgotten beyond 64, and a reason is bounded")
    func epochLimits() throws {
        let still = try StillLog(StillLog.options())
        for number in 2...70 as ClosedRange<UInt64> {
            #expect(try still.log.beginEpoch(reason: "again").epoch == number)
        }
        #expect(still.log.epochs.map(\.epoch) == Array(7...70))
        #expect(throws: LogError.self) {
            try still.log.beginEpoch(reason: String(repeating: "x", count: 65))
        }
        #expect(still.log.epoch == 70)
    }

    @Test("decision 30: the mark of a halted log is durable until it is ended")
    func haltedMark() throws {
        let still = try StillLog(StillLog.options())
        func isHalted(_ disk: MemoryDisk) throws -> Bool {
            let log = try openLog(disk, still.options)
            defer { log.close() }
            return log.isHalted
        }
        #expect(try !isHalted(still.disk.afterWorstPowerCut()))
        try still.log.setHalted(true)
        #expect(try isHalted(still.disk.afterWorstPowerCut()))
        try still.log.setHalted(false)
        #expect(try !isHalted(still.disk.afterWorstPowerCut()))
    }
}
