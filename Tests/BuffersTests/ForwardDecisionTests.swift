import Facts
import Testing
import WriteAheadLog

@testable import Buffers

/// What an operator decides about a forward buffer, in memory and in a log.
@Suite struct ForwardDecisionTests {
    private func began(_ realisation: Realisation) throws -> BufferSubject {
        let subject = try BufferSubject(realisation)
        try subject.forward.begin(at: position(0))
        return subject
    }

    private func payloads(_ buffer: any ReadableBuffer) throws -> [[UInt8]] {
        var payloads: [[UInt8]] = []
        _ = try buffer.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            payloads.append(Array(record.payload))
            return true
        }
        return payloads
    }

    @Test("gateway decision 15: conflicts are told before anything is written, and replaced in their places",
        arguments: Realisation.allCases)
    func replaces(_ realisation: Realisation) throws {
        let subject = try began(realisation)
        defer { withExtendedLifetime(subject) {} }
        let forward = subject.forward
        _ = try forward.putIfAbsent([record(1)], from: position(0), to: position(1))
        var told: [ForwardConflict] = []
        let page = [record(2), record(1, 9), record(3), record(2, 8), record(1)]
        let receipt = try forward.putIfAbsent(
            page, from: position(1), to: position(6),
            replacing: { (conflicts) throws(BufferError) in
                told = conflicts
                #expect(forward.headOffset == 1 && forward.position == position(1))
                return conflicts.map { [UInt8(0xF0 + $0.index)] }
            })
        #expect(
            told == [
                ForwardConflict(index: 1, offset: 0, stored: record(1).contentDigest!),
                ForwardConflict(index: 3, offset: nil, stored: record(2).contentDigest!),
            ])
        #expect(receipt.outcomes[4] == .existing(offset: 0))
        #expect(
            try payloads(forward)
                == [record(1), record(2)].map(\.storedRecord) + [[0xF1], record(3).storedRecord, [0xF3]])
        #expect(forward.position == position(6))
        // Given up by the caller: nothing is written, and the keys are free again.
        #expect(throws: BufferError.self) {
            try forward.putIfAbsent(
                [record(4), record(1, 7)], from: position(6), to: position(8),
                replacing: { (_) throws(BufferError) in throw BufferError(.full, "no room") })
        }
        #expect(forward.headOffset == 5 && forward.position == position(6))
        _ = try forward.putIfAbsent([record(4)], from: position(6), to: position(7))
        #expect(try forward.content(of: digest(4))?.offset == 5)
    }

    @Test("gateway decision 15: a late fact comes to the tail once and moves no position",
        arguments: Realisation.allCases)
    func late(_ realisation: Realisation) throws {
        let subject = try began(realisation)
        defer { withExtendedLifetime(subject) {} }
        let forward = subject.forward
        _ = try forward.putIfAbsent([record(1)], from: position(0), to: position(1))
        #expect(try forward.putLate(record(2)) == .appended(offset: 1))
        #expect(try forward.putLate(record(2)) == .existing(offset: 1))
        #expect(
            try forward.putLate(record(1, 5))
                == .conflict(offset: 0, stored: record(1).contentDigest!))
        #expect(forward.headOffset == 2 && forward.position == position(1))
    }

    private let halt = ForwardHalt(
        identifier: QuarantineIdentifier(
            logUUID: [UInt8](repeating: 7, count: 16), epoch: 1, offset: 1),
        reason: .conflict, sentence: String(repeating: "é", count: 400))

    @Test("gateway decision 16: a halt is durable, and a recorded refusal ends it in its own commit",
        arguments: Realisation.allCases)
    func halts(_ realisation: Realisation) async throws {
        let subject = try began(realisation)
        let forward = subject.forward
        #expect(forward.halt == nil)
        _ = try forward.putIfAbsent([record(1)], from: position(0), to: position(1))
        try forward.setHalt(halt)
        #expect(forward.halt == halt && halt.sentence.utf8.count <= 303)
        try forward.setHalt(nil)
        #expect(forward.halt == nil)
        try forward.setHalt(halt)
        if realisation == .log {
            try await subject.reopened { again in
                #expect(again.forward.halt == halt && again.logs[1].isHalted)
                try refuse(again.forward)
                #expect(!again.logs[1].isHalted)
            }
        } else {
            try refuse(forward)
        }
    }

    private func refuse(_ forward: any ForwardBuffer) throws {
        let refusal = ForwardRecord(key: nil, contentDigest: nil, storedRecord: [1, 2])
        #expect(throws: BufferError.self) {
            try forward.putRefusal(refusal, from: position(5), to: position(6))
        }
        #expect(forward.halt == halt && forward.headOffset == 1)
        try forward.putRefusal(refusal, from: position(1), to: position(2))
        #expect(forward.halt == nil && forward.position == position(2) && forward.headOffset == 2)
    }

    @Test("gateway decision 7: an accepted position may be lower, ends a halt, and facts below come once",
        arguments: Realisation.allCases)
    func accepts(_ realisation: Realisation) throws {
        let subject = try began(realisation)
        defer { withExtendedLifetime(subject) {} }
        let forward = subject.forward
        _ = try forward.putIfAbsent(
            [record(1), record(2)], from: position(0), to: position(2))
        try forward.setHalt(halt)
        #expect(throws: BufferError.self) { try forward.accept(position(1), from: position(7)) }
        try forward.accept(position(0), from: position(2))
        #expect(forward.position == position(0) && forward.halt == nil)
        let again = try forward.putIfAbsent(
            [record(1), record(2), record(3)], from: position(0), to: position(3))
        #expect(
            again.outcomes == [
                .existing(offset: 0), .existing(offset: 1), .appended(offset: 2),
            ])
    }

    @Test("gateway decision 7: a cursor is put back with its receiver, and confirms go on from there",
        arguments: Realisation.allCases)
    func replacesCursor(_ realisation: Realisation) async throws {
        let subject = try BufferSubject(realisation)
        _ = try await subject.store.append((0..<6).map { fact($0) })
        var cursor = TrackedCursor(owner: "o", name: "c", nextOffset: 0)
        #expect(throws: BufferError.self) { try subject.cursors.replace(cursor) }
        try subject.cursors.create(cursor)
        _ = try subject.cursors.confirm(owner: "o", name: "c", 0...4, digest: nil)
        _ = try subject.cursors.confirm(owner: "o", name: "c", 5...5, digest: nil)
        cursor.nextOffset = 2
        cursor.receiverUUID = [UInt8](repeating: 3, count: 16)
        cursor.receiverEpoch = 2
        try subject.cursors.replace(cursor)
        #expect(subject.cursors.cursor(owner: "o", name: "c") == cursor)
        let moved = try subject.cursors.confirm(owner: "o", name: "c", 2...3, digest: nil)
        #expect(moved.nextOffset == 4 && moved.receiverEpoch == 2)
        cursor.nextOffset = 7
        #expect(throws: BufferError.self) { try subject.cursors.replace(cursor) }
        cursor.nextOffset = 2
        cursor.epoch = 2
        #expect(throws: BufferError.self) { try subject.cursors.replace(cursor) }
    }
}
